/* SPDX-License-Identifier: MIT */
/*
 * Windows error codes: what GetLastError returns after a memory function, and the general ones.
 *
 * Names and values are those of the Open Specification [MS-ERREF], section 2.2, in the order of their values.
 * How a status becomes an error code: RtlNtStatusToDosError.
 */
#ifndef NTMM_NT_WINERROR_H
#define NTMM_NT_WINERROR_H

#define NO_ERROR                        0
#define ERROR_SUCCESS                   0
#define ERROR_INVALID_FUNCTION          1
#define ERROR_FILE_NOT_FOUND            2
#define ERROR_PATH_NOT_FOUND            3
#define ERROR_TOO_MANY_OPEN_FILES       4
#define ERROR_ACCESS_DENIED             5
#define ERROR_INVALID_HANDLE            6
#define ERROR_NOT_ENOUGH_MEMORY         8
#define ERROR_INVALID_BLOCK             9
#define ERROR_BAD_ENVIRONMENT           10
#define ERROR_BAD_FORMAT                11
#define ERROR_INVALID_ACCESS            12
#define ERROR_INVALID_DATA              13
#define ERROR_OUTOFMEMORY               14
#define ERROR_NOT_SAME_DEVICE           17
#define ERROR_NO_MORE_FILES             18
#define ERROR_WRITE_PROTECT             19
#define ERROR_NOT_READY                 21
#define ERROR_BAD_COMMAND               22
#define ERROR_CRC                       23
#define ERROR_BAD_LENGTH                24
#define ERROR_SEEK                      25
#define ERROR_SECTOR_NOT_FOUND          27
#define ERROR_WRITE_FAULT               29
#define ERROR_READ_FAULT                30
#define ERROR_GEN_FAILURE               31
#define ERROR_SHARING_VIOLATION         32
#define ERROR_LOCK_VIOLATION            33
#define ERROR_WRONG_DISK                34
#define ERROR_HANDLE_EOF                38
#define ERROR_HANDLE_DISK_FULL          39
#define ERROR_NOT_SUPPORTED             50
#define ERROR_UNEXP_NET_ERR             59
#define ERROR_FILE_EXISTS               80
#define ERROR_INVALID_PARAMETER         87
#define ERROR_BROKEN_PIPE               109
#define ERROR_OPEN_FAILED               110
#define ERROR_BUFFER_OVERFLOW           111
#define ERROR_DISK_FULL                 112
#define ERROR_CALL_NOT_IMPLEMENTED      120
#define ERROR_SEM_TIMEOUT               121
#define ERROR_INSUFFICIENT_BUFFER       122
#define ERROR_INVALID_NAME              123
#define ERROR_INVALID_LEVEL             124
#define ERROR_MOD_NOT_FOUND             126
#define ERROR_PROC_NOT_FOUND            127
#define ERROR_WAIT_NO_CHILDREN          128
#define ERROR_NEGATIVE_SEEK             131
#define ERROR_DIR_NOT_EMPTY             145
#define ERROR_DISCARDED                 157
#define ERROR_NOT_LOCKED                158
#define ERROR_BAD_ARGUMENTS             160
#define ERROR_BAD_PATHNAME              161
#define ERROR_BUSY                      170
#define ERROR_ALREADY_EXISTS            183
#define ERROR_EXE_MARKED_INVALID        192
#define ERROR_BAD_EXE_FORMAT            193
#define ERROR_FILENAME_EXCED_RANGE      206
#define ERROR_MORE_DATA                 234
#define ERROR_NO_MORE_ITEMS             259
#define ERROR_DIRECTORY                 267
#define ERROR_NOT_OWNER                 288
#define ERROR_TOO_MANY_POSTS            298
#define ERROR_PARTIAL_COPY              299
#define ERROR_OPLOCK_NOT_GRANTED        300
#define ERROR_MR_MID_NOT_FOUND          317
#define ERROR_NO_SUCH_DEVICE            433
#define ERROR_DEVICE_HARDWARE_ERROR     483
#define ERROR_INVALID_ADDRESS           487
#define ERROR_ARITHMETIC_OVERFLOW       534
#define ERROR_PAGEFILE_QUOTA_EXCEEDED   567
#define ERROR_COMMITMENT_MINIMUM        635
#define ERROR_WAS_LOCKED                717
#define ERROR_ABANDONED_WAIT_0          735
#define ERROR_ABANDONED_WAIT_63         736
#define ERROR_ALERTED                   739
#define ERROR_ELEVATION_REQUIRED        740
#define ERROR_OPERATION_ABORTED         995
#define ERROR_IO_INCOMPLETE             996
#define ERROR_IO_PENDING                997
#define ERROR_NOACCESS                  998
#define ERROR_SWAPERROR                 999
#define ERROR_STACK_OVERFLOW            1001
#define ERROR_INVALID_MESSAGE           1002
#define ERROR_INVALID_FLAGS             1004
#define ERROR_UNRECOGNIZED_VOLUME       1005
#define ERROR_FILE_INVALID              1006
#define ERROR_SERVICE_DISABLED          1058
#define ERROR_IO_DEVICE                 1117
#define ERROR_MAPPED_ALIGNMENT          1132
#define ERROR_DEVICE_NOT_CONNECTED      1167
#define ERROR_NOT_FOUND                 1168
#define ERROR_USER_MAPPED_FILE          1224
#define ERROR_RETRY                     1237
#define ERROR_NOT_ALL_ASSIGNED          1300
#define ERROR_NO_SUCH_PRIVILEGE         1313
#define ERROR_PRIVILEGE_NOT_HELD        1314
#define ERROR_INTERNAL_ERROR            1359
#define ERROR_FILE_CORRUPT              1392
#define ERROR_DISK_CORRUPT              1393
#define ERROR_INVALID_INDEX             1413
#define ERROR_NO_SYSTEM_RESOURCES       1450
#define ERROR_NONPAGED_SYSTEM_RESOURCES 1451
#define ERROR_PAGED_SYSTEM_RESOURCES    1452
#define ERROR_WORKING_SET_QUOTA         1453
#define ERROR_PAGEFILE_QUOTA            1454
#define ERROR_COMMITMENT_LIMIT          1455
#define ERROR_TIMEOUT                   1460
#define ERROR_DEVICE_REMOVED            1617
#define ERROR_DYNAMIC_CODE_BLOCKED      1655
#define ERROR_INVALID_USER_BUFFER       1784
#define ERROR_UNRECOGNIZED_MEDIA        1785
#define ERROR_NOT_ENOUGH_QUOTA          1816
#define WAIT_TIMEOUT                    258

#endif
