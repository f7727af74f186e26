/* SPDX-License-Identifier: MIT */
/*
 * Bug-check codes: the codes that memory management can raise, with their four parameters, and the general
 * ones.
 *
 * The parameters are those that KeBugCheckEx receives, numbered 1 to 4. Source: Microsoft Learn, "Bug Check
 * Code Reference" and the page of each code.
 */
#ifndef NTMM_NT_BUGCODES_H
#define NTMM_NT_BUGCODES_H

/* ---- memory: faults ---- */

/* 1 address, 2 IRQL, 3 access (0 read, 1 write, 2 or 8 execute), 4 address of the instruction */
#define IRQL_NOT_LESS_OR_EQUAL 0x0000000A
/* as 0xA; the code that touched the address belongs to a driver */
#define DRIVER_IRQL_NOT_LESS_OR_EQUAL 0x000000D1
/* 1 address, 2 access (0 read, 2 write, 0x10 execute), 3 address of the instruction, 4 kind of page fault */
#define PAGE_FAULT_IN_NONPAGED_AREA 0x00000050
/* 1 address, 2 PTE, 3 reserved, 4 reserved */
#define ATTEMPTED_WRITE_TO_READONLY_MEMORY 0x000000BE
/* 1 address, 2 PTE, 3 reserved, 4 reserved */
#define ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY 0x000000FC
/* 1 kind of holder or 0, 2 status, 3 PTE or frame, 4 address */
#define KERNEL_STACK_INPAGE_ERROR 0x00000077
/* 1 kind of holder or PTE, 2 status, 3 PTE or process, 4 address that could not be brought in */
#define KERNEL_DATA_INPAGE_ERROR       0x0000007A
#define PAGE_FAULT_WITH_INTERRUPTS_OFF 0x00000049
#define TOO_MANY_RECURSIVE_FAULTS      0x0000011E

/* ---- memory: frames, PTEs, working sets, limits ---- */

/* 1 kind of failure (the list stands on the page of this code), 2..4 depend on it */
#define MEMORY_MANAGEMENT 0x0000001A
/*
 * 1 kind of damage (2 entry on list, 7 unlocked too often, 0x8F free list, 0x99 PTE or frame), 2..4 details
 */
#define PFN_LIST_CORRUPT    0x0000004E
#define PFN_SHARE_COUNT     0x0000001B
#define PFN_REFERENCE_COUNT 0x0000001C
/* 1 kind of PTE request, 2..4 details */
#define NO_MORE_SYSTEM_PTES 0x0000003F
/* 1 dirty pages, 2 physical pages, 3 reserved, 4 status of the last write */
#define NO_PAGES_AVAILABLE                   0x0000004D
#define DIRTY_MAPPED_PAGES_CONGESTION        0x000000EB
#define DIRTY_NOWRITE_PAGES_CONGESTION       0x000000FD
#define PAGE_NOT_ZERO                        0x00000127
#define FAULTY_HARDWARE_CORRUPTED_PAGE       0x0000012B
#define SYSTEM_PTE_MISUSE                    0x000000DA
#define DRIVER_CORRUPTED_SYSPTES             0x000000DB
#define DRIVER_USED_EXCESSIVE_PTES           0x000000D8
#define DRIVER_UNMAPPING_INVALID_VIEW        0x000000D7
#define INVALID_PROCESS_ATTACH_ATTEMPT       0x00000005
#define INVALID_PROCESS_DETACH_ATTEMPT       0x00000006
#define KERNEL_STACK_LOCKED_AT_EXIT          0x00000094
#define INVALID_REGION_OR_SEGMENT            0x00000099
#define MEMORY_IMAGE_CORRUPT                 0x000000A2
#define MEMORY1_INITIALIZATION_FAILED        0x00000065
#define INSTALL_MORE_MEMORY                  0x0000007D
#define HAL_MEMORY_ALLOCATION                0x000000AC
#define CACHE_MANAGER                        0x00000034
#define UNEXPECTED_STORE_EXCEPTION           0x00000154
#define STORE_DATA_STRUCTURE_CORRUPTION      0x000001C7
#define KERNEL_PARTITION_REFERENCE_VIOLATION 0x0000018E
#define INVALID_KERNEL_STACK_ADDRESS         0x000001CE

/* ---- memory: locked pages and MDLs ---- */

/* 1 0 or MDL of the tracker, 2 process, 3 number of locked pages, 4 driver's list or 0 */
#define PROCESS_HAS_LOCKED_PAGES 0x00000076
/* 1 caller, 2 caller's caller, 3 MDL, 4 number of locked pages */
#define DRIVER_LEFT_LOCKED_PAGES_IN_PROCESS 0x000000CB
#define LOCKED_PAGES_TRACKER_CORRUPTION     0x000000D9
#define TARGET_MDL_TOO_SMALL                0x00000040
#define INVALID_MDL_RANGE                   0x0000012E

/* ---- memory: pools and verifier ---- */

/* 1 kind of damage (3 free list, 5/6 adjacent headers, 7 neighbour, 0x20 header ...), 2..4 details */
#define BAD_POOL_HEADER 0x00000019
/* 1 kind of misuse (7 freed twice, 0xA wrong tag, 0x46 bad address, 0x99 bad address ...), 2..4 details */
#define BAD_POOL_CALLER 0x000000C2
/* 1 address, 2 IRQL, 3 access (0 read, 1 write), 4 address of the instruction */
#define DRIVER_CORRUPTED_EXPOOL            0x000000C5
#define DRIVER_CORRUPTED_MMPOOL            0x000000D0
#define DRIVER_CAUGHT_MODIFYING_FREED_POOL 0x000000C6
#define POOL_CORRUPTION_IN_FILE_AREA       0x000000DE
/* 1 kind of damage, 2 heap, 3 damaged address or 0, 4 0 */
#define KERNEL_MODE_HEAP_CORRUPTION 0x0000013A
#define MUST_SUCCEED_POOL_EMPTY     0x00000041
/* 1 address freed, 2 and 3 details, 4 kind of violation (0x20 to 0x32) */
#define SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION 0x000000C1
/* 1 address, 2 access (0 read, 1 write), 3 address of the instruction, 4 reserved */
#define PAGE_FAULT_IN_FREED_SPECIAL_POOL           0x000000CC
#define PAGE_FAULT_BEYOND_END_OF_ALLOCATION        0x000000CD
#define DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL    0x000000D5
#define DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION 0x000000D6
/* 1 kind of violation, 2..4 depend on it */
#define DRIVER_VERIFIER_DETECTED_VIOLATION                       0x000000C4
#define DRIVER_VERIFIER_IOMANAGER_VIOLATION                      0x000000C9
#define DRIVER_VERIFIER_DMA_VIOLATION                            0x000000E6
#define DRIVER_PORTION_MUST_BE_NONPAGED                          0x000000D3
#define DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS    0x000000CE
#define TERMINAL_SERVER_DRIVER_MADE_INCORRECT_MEMORY_REFERENCE   0x000000CF
#define SYSTEM_SCAN_AT_RAISED_IRQL_CAUGHT_IMPROPER_DRIVER_UNLOAD 0x000000D4
#define SESSION_HAS_VALID_POOL_ON_EXIT                           0x000000AB
#define SESSION_HAS_VALID_VIEWS_ON_EXIT                          0x000000BA
#define SESSION_HAS_VALID_SPECIAL_POOL_ON_EXIT                   0x000000EC
/* 1 process, 2 quota type, 3 charge, 4 amount given back */
#define QUOTA_UNDERFLOW 0x00000021

/* ---- kernel: IRQL, locks, threads, objects ---- */

#define APC_INDEX_MISMATCH            0x00000001
#define DEVICE_QUEUE_NOT_BUSY         0x00000002
#define INVALID_AFFINITY_SET          0x00000003
#define INVALID_DATA_ACCESS_TRAP      0x00000004
#define INVALID_SOFTWARE_INTERRUPT    0x00000007
#define IRQL_NOT_DISPATCH_LEVEL       0x00000008
#define IRQL_NOT_GREATER_OR_EQUAL     0x00000009
#define NO_EXCEPTION_HANDLING_SUPPORT 0x0000000B
#define MAXIMUM_WAIT_OBJECTS_EXCEEDED 0x0000000C
#define MUTEX_LEVEL_NUMBER_VIOLATION  0x0000000D
#define NO_USER_MODE_CONTEXT          0x0000000E
#define SPIN_LOCK_ALREADY_OWNED       0x0000000F
#define SPIN_LOCK_NOT_OWNED           0x00000010
#define THREAD_NOT_MUTEX_OWNER        0x00000011
#define TRAP_CAUSE_UNKNOWN            0x00000012
#define EMPTY_THREAD_REAPER_LIST      0x00000013
#define CREATE_DELETE_LOCK_NOT_LOCKED 0x00000014
#define LAST_CHANCE_CALLED_FROM_KMODE 0x00000015
#define CID_HANDLE_CREATION           0x00000016
#define CID_HANDLE_DELETION           0x00000017
/* 1 object type, 2 object, 3 and 4 reserved */
#define REFERENCE_BY_POINTER   0x00000018
#define NO_SPIN_LOCK_AVAILABLE 0x0000001D
/* 1 exception code, 2 address of the instruction, 3 and 4 exception parameters 0 and 1 */
#define KMODE_EXCEPTION_NOT_HANDLED     0x0000001E
#define SHARED_RESOURCE_CONV_ERROR      0x0000001F
#define KERNEL_APC_PENDING_DURING_EXIT  0x00000020
#define FILE_SYSTEM                     0x00000022
#define INCONSISTENT_IRP                0x0000002A
#define PANIC_STACK_SWITCH              0x0000002B
#define DATA_BUS_ERROR                  0x0000002E
#define INSTRUCTION_BUS_ERROR           0x0000002F
#define SET_OF_INVALID_CONTEXT          0x00000030
#define PHASE0_INITIALIZATION_FAILED    0x00000031
#define PHASE1_INITIALIZATION_FAILED    0x00000032
#define UNEXPECTED_INITIALIZATION_CALL  0x00000033
#define NO_MORE_IRP_STACK_LOCATIONS     0x00000035
#define DEVICE_REFERENCE_COUNT_NOT_ZERO 0x00000036
#define SYSTEM_EXIT_OWNED_MUTEX         0x00000039
/* 1 exception code, 2 address of the instruction, 3 context record, 4 0 */
#define SYSTEM_SERVICE_EXCEPTION                   0x0000003B
#define INTERRUPT_UNWIND_ATTEMPTED                 0x0000003C
#define INTERRUPT_EXCEPTION_NOT_HANDLED            0x0000003D
#define MULTIPROCESSOR_CONFIGURATION_NOT_SUPPORTED 0x0000003E
#define MULTIPLE_IRP_COMPLETE_REQUESTS             0x00000044
#define INSUFFICIENT_SYSTEM_MAP_REGS               0x00000045
#define CANCEL_STATE_IN_COMPLETED_IRP              0x00000048
/* 1 address of the system call, 2 IRQL, 3 and 4 0 */
#define IRQL_GT_ZERO_AT_SYSTEM_SERVICE 0x0000004A
#define FATAL_UNHANDLED_HARD_ERROR     0x0000004C
#define HAL_INITIALIZATION_FAILED      0x0000005C
#define UNSUPPORTED_PROCESSOR          0x0000005D
#define OBJECT_INITIALIZATION_FAILED   0x0000005E
#define PROCESS_INITIALIZATION_FAILED  0x00000060
#define OBJECT1_INITIALIZATION_FAILED  0x00000062
#define CACHE_INITIALIZATION_FAILED    0x00000066
#define PROCESS1_INITIALIZATION_FAILED 0x0000006B
#define PHASE0_EXCEPTION               0x00000078
#define INACCESSIBLE_BOOT_DEVICE       0x0000007B
/* 1 exception code, 2 address of the instruction, 3 exception record, 4 context record */
#define SYSTEM_THREAD_EXCEPTION_NOT_HANDLED 0x0000007E
/* 1 trap number, 2..4 reserved */
#define UNEXPECTED_KERNEL_MODE_TRAP                        0x0000007F
#define NMI_HARDWARE_FAILURE                               0x00000080
#define SPIN_LOCK_INIT_FAILURE                             0x00000081
#define KERNEL_MODE_EXCEPTION_NOT_HANDLED                  0x0000008E
#define INVALID_KERNEL_HANDLE                              0x00000093
#define INVALID_WORK_QUEUE_ITEM                            0x00000096
#define MACHINE_CHECK_EXCEPTION                            0x0000009C
#define BAD_EXHANDLE                                       0x000000A7
#define ATTEMPTED_SWITCH_FROM_DPC                          0x000000B8
#define MUTEX_ALREADY_OWNED                                0x000000BF
#define TIMER_OR_DPC_INVALID                               0x000000C7
#define IRQL_UNEXPECTED_VALUE                              0x000000C8
#define DRIVER_INVALID_STACK_ACCESS                        0x000000DC
#define IMPERSONATING_WORKER_THREAD                        0x000000DF
#define WORKER_THREAD_RETURNED_AT_BAD_IRQL                 0x000000E1
#define MANUALLY_INITIATED_CRASH                           0x000000E2
#define RESOURCE_NOT_OWNED                                 0x000000E3
#define WORKER_INVALID                                     0x000000E4
#define INVALID_FLOATING_POINT_STATE                       0x000000E7
#define ACTIVE_EX_WORKER_THREAD_TERMINATION                0x000000E9
#define CRITICAL_PROCESS_DIED                              0x000000EF
#define CRITICAL_OBJECT_TERMINATION                        0x000000F4
#define DRIVER_OVERRAN_STACK_BUFFER                        0x000000F7
#define RESERVE_QUEUE_OVERFLOW                             0x000000FF
#define LOADER_BLOCK_MISMATCH                              0x00000100
#define CLOCK_WATCHDOG_TIMEOUT                             0x00000101
#define DPC_WATCHDOG_TIMEOUT                               0x00000102
#define CRITICAL_STRUCTURE_CORRUPTION                      0x00000109
#define RESOURCE_MANAGER_EXCEPTION_NOT_HANDLED             0x0000010F
#define INVALID_DRIVER_HANDLE                              0x0000011F
#define DRIVER_VIOLATION                                   0x00000121
#define WORKER_THREAD_RETURNED_WITH_BAD_IO_PRIORITY        0x00000128
#define WORKER_THREAD_RETURNED_WITH_BAD_PAGING_IO_PRIORITY 0x00000129
#define DYNAMIC_ADD_PROCESSOR_MISMATCH                     0x00000130
#define INVALID_EXTENDED_PROCESSOR_STATE                   0x00000131
#define RESOURCE_OWNER_POINTER_INVALID                     0x00000132
#define DPC_WATCHDOG_VIOLATION                             0x00000133
/* 1 kind of corruption (3 list entry ...), 2 trap frame, 3 exception record, 4 reserved */
#define KERNEL_SECURITY_CHECK_FAILURE                           0x00000139
#define CRITICAL_INITIALIZATION_FAILURE                         0x0000013D
#define INVALID_PUSH_LOCK_FLAGS                                 0x00000152
#define KERNEL_LOCK_ENTRY_LEAKED_ON_THREAD_TERMINATION          0x00000153
#define WORKER_THREAD_RETURNED_WITH_SYSTEM_PAGE_PRIORITY_ACTIVE 0x0000015B
#define KERNEL_AUTO_BOOST_INVALID_LOCK_RELEASE                  0x00000162
#define INVALID_RUNDOWN_PROTECTION_FLAGS                        0x0000016C
#define INVALID_SLOT_ALLOCATOR_FLAGS                            0x0000016D
#define ERESOURCE_INVALID_RELEASE                               0x0000016E
#define BAD_OBJECT_HEADER                                       0x00000189
#define KERNEL_AUTO_BOOST_LOCK_ACQUISITION_WITH_RAISED_IRQL     0x00000192
#define KERNEL_STORAGE_SLOT_IN_USE                              0x00000199

#endif
