/* SPDX-License-Identifier: MIT */
/*
 * Source annotations (SAL) and driver annotations, accepted and ignored.
 *
 * Windows sources describe parameters, locks and IRQL with macros that only Microsoft's analyser reads.
 * Here they all expand to nothing, so that annotated source compiles unchanged with gcc and clang. Names
 * are those of Microsoft Learn, "Using SAL annotations to reduce C/C++ code defects" and "SAL 2.0
 * annotations for Windows drivers". The old double-underscore names of SAL 1 (__in, __out) are names that
 * the C++ library of Linux uses for parameters; they are defined only on request (NTMM_LEGACY_SAL).
 */
#ifndef NTMM_NT_SAL_H
#define NTMM_NT_SAL_H

/* Parameters. */
#define _In_
#define _In_opt_
#define _In_z_
#define _In_opt_z_
#define _In_reads_(size)
#define _In_reads_opt_(size)
#define _In_reads_z_(size)
#define _In_reads_opt_z_(size)
#define _In_reads_bytes_(size)
#define _In_reads_bytes_opt_(size)
#define _In_reads_or_z_(size)
#define _In_reads_or_z_opt_(size)
#define _In_reads_to_ptr_(ptr)
#define _In_reads_to_ptr_opt_(ptr)
#define _In_range_(low, high)
#define _In_bound_
#define _In_defensive_(annotations)
#define _In_function_class_(name)
#define _Out_
#define _Out_opt_
#define _Out_writes_(size)
#define _Out_writes_opt_(size)
#define _Out_writes_z_(size)
#define _Out_writes_opt_z_(size)
#define _Out_writes_bytes_(size)
#define _Out_writes_bytes_opt_(size)
#define _Out_writes_all_(size)
#define _Out_writes_all_opt_(size)
#define _Out_writes_bytes_all_(size)
#define _Out_writes_bytes_all_opt_(size)
#define _Out_writes_to_(size, count)
#define _Out_writes_to_opt_(size, count)
#define _Out_writes_bytes_to_(size, count)
#define _Out_writes_bytes_to_opt_(size, count)
#define _Out_writes_to_ptr_(ptr)
#define _Out_writes_to_ptr_opt_(ptr)
#define _Out_range_(low, high)
#define _Out_bound_
#define _Outptr_
#define _Outptr_opt_
#define _Outptr_result_maybenull_
#define _Outptr_opt_result_maybenull_
#define _Outptr_result_z_
#define _Outptr_opt_result_z_
#define _Outptr_result_nullonfailure_
#define _Outptr_opt_result_nullonfailure_
#define _Outptr_result_buffer_(size)
#define _Outptr_opt_result_buffer_(size)
#define _Outptr_result_buffer_maybenull_(size)
#define _Outptr_result_bytebuffer_(size)
#define _Outptr_opt_result_bytebuffer_(size)
#define _Outptr_result_bytebuffer_maybenull_(size)
#define _Outptr_result_buffer_to_(size, count)
#define _Outptr_result_bytebuffer_to_(size, count)
#define _Outref_
#define _Outref_result_maybenull_
#define _COM_Outptr_
#define _COM_Outptr_opt_
#define _Inout_
#define _Inout_opt_
#define _Inout_z_
#define _Inout_opt_z_
#define _Inout_updates_(size)
#define _Inout_updates_opt_(size)
#define _Inout_updates_z_(size)
#define _Inout_updates_bytes_(size)
#define _Inout_updates_bytes_opt_(size)
#define _Inout_updates_all_(size)
#define _Inout_updates_all_opt_(size)
#define _Inout_updates_bytes_all_(size)
#define _Inout_updates_bytes_all_opt_(size)
#define _Inout_updates_to_(size, count)
#define _Inout_updates_to_opt_(size, count)
#define _Inout_updates_bytes_to_(size, count)
#define _Inout_updates_bytes_to_opt_(size, count)
#define _Inout_defensive_(annotations)
#define _Reserved_
#define _Const_
#define _Points_to_data_
#define _Literal_
#define _Notliteral_
#define _Printf_format_string_
#define _Printf_format_string_params_(position)
#define _Scanf_format_string_
#define _Null_terminated_
#define _NullNull_terminated_

/* Results, conditions, fields, and whole functions. */
#define _Ret_
#define _Ret_z_
#define _Ret_maybenull_
#define _Ret_maybenull_z_
#define _Ret_notnull_
#define _Ret_null_
#define _Ret_valid_
#define _Ret_range_(low, high)
#define _Ret_writes_(size)
#define _Ret_writes_z_(size)
#define _Ret_writes_maybenull_(size)
#define _Ret_writes_bytes_(size)
#define _Ret_writes_bytes_maybenull_(size)
#define _Ret_writes_to_(size, count)
#define _Ret_writes_bytes_to_(size, count)
#define _Return_type_success_(expression)
#define _Success_(expression)
#define _On_failure_(annotations)
#define _Always_(annotations)
#define _When_(expression, annotations)
#define _At_(target, annotations)
#define _At_buffer_(target, iterator, bound, annotations)
#define _Group_(annotations)
#define _Must_inspect_result_
#define _Check_return_
#define _Check_return_opt_
#define _Use_decl_annotations_
#define _Analysis_assume_(expression)                ((void)0)
#define _Analysis_assume_nullterminated_(expression) ((void)0)
#define _Analysis_noreturn_
#define _Function_class_(name)
#define _Called_from_function_class_(name)
#define _Raises_SEH_exception_
#define _Maybe_raises_SEH_exception_
#define _Enum_is_bitflag_
#define _Strict_type_match_
#define _Struct_size_bytes_(size)
#define _Field_range_(low, high)
#define _Field_size_(size)
#define _Field_size_opt_(size)
#define _Field_size_full_(size)
#define _Field_size_full_opt_(size)
#define _Field_size_part_(size, count)
#define _Field_size_part_opt_(size, count)
#define _Field_size_bytes_(size)
#define _Field_size_bytes_opt_(size)
#define _Field_size_bytes_full_(size)
#define _Field_size_bytes_part_(size, count)
#define _Field_z_
#define _Maybenull_
#define _Notnull_
#define _Null_
#define _Valid_
#define _Notvalid_
#define _Readable_bytes_(size)
#define _Readable_elements_(size)
#define _Writable_bytes_(size)
#define _Writable_elements_(size)
#define _Pre_
#define _Pre_null_
#define _Pre_notnull_
#define _Pre_maybenull_
#define _Pre_valid_
#define _Pre_opt_valid_
#define _Pre_invalid_
#define _Pre_z_
#define _Pre_readable_size_(size)
#define _Pre_writable_size_(size)
#define _Pre_readable_byte_size_(size)
#define _Pre_writable_byte_size_(size)
#define _Pre_satisfies_(expression)
#define _Pre_equal_to_(expression)
#define _Pre_range_(low, high)
#define _Pre_unknown_
#define _Post_
#define _Post_null_
#define _Post_notnull_
#define _Post_maybenull_
#define _Post_valid_
#define _Post_invalid_
#define _Post_ptr_invalid_
#define _Post_z_
#define _Post_readable_size_(size)
#define _Post_writable_size_(size)
#define _Post_readable_byte_size_(size)
#define _Post_writable_byte_size_(size)
#define _Post_satisfies_(expression)
#define _Post_equal_to_(expression)
#define _Post_range_(low, high)
#define _Post_same_lock_(first, second)
#define _Deref_out_
#define _Deref_out_opt_
#define _Deref_out_range_(low, high)
#define _Deref_in_range_(low, high)
#define _Deref_inout_range_(low, high)
#define _Deref_pre_
#define _Deref_post_
#define _Prepost_
#define _Prepost_z_
#define _Unchanged_(expression)
#define _Null_terminated_by_(value)
#define _Frees_ptr_
#define _Frees_ptr_opt_
#define _Flink_

/* Locks and IRQL. */
#define _Acquires_exclusive_lock_(lock)
#define _Acquires_shared_lock_(lock)
#define _Acquires_nonreentrant_lock_(lock)
#define _Acquires_lock_(lock)
#define _Releases_exclusive_lock_(lock)
#define _Releases_shared_lock_(lock)
#define _Releases_nonreentrant_lock_(lock)
#define _Releases_lock_(lock)
#define _Requires_exclusive_lock_held_(lock)
#define _Requires_shared_lock_held_(lock)
#define _Requires_lock_held_(lock)
#define _Requires_lock_not_held_(lock)
#define _Requires_no_locks_held_
#define _Guarded_by_(lock)
#define _Write_guarded_by_(lock)
#define _Interlocked_
#define _Interlocked_operand_
#define _Has_lock_kind_(kind)
#define _Has_lock_level_(level)
#define _Lock_level_order_(first, second)
#define _Create_lock_level_(level)
#define _Internal_lock_level_order_(first, second)
#define _IRQL_requires_(irql)
#define _IRQL_requires_max_(irql)
#define _IRQL_requires_min_(irql)
#define _IRQL_requires_same_
#define _IRQL_always_function_min_(irql)
#define _IRQL_always_function_max_(irql)
#define _IRQL_raises_(irql)
#define _IRQL_saves_
#define _IRQL_saves_global_(kind, target)
#define _IRQL_restores_
#define _IRQL_restores_global_(kind, target)
#define _IRQL_is_cancel_
#define _IRQL_uses_cancel_
#define _Kernel_float_saved_
#define _Kernel_float_restored_
#define _Kernel_float_used_
#define _Kernel_requires_resource_held_(kind)
#define _Kernel_requires_resource_not_held_(kind)
#define _Kernel_acquires_resource_(kind)
#define _Kernel_releases_resource_(kind)
#define _Kernel_clear_do_init_(yesno)
#define _Kernel_IoGetDmaAdapter_
#define _Dispatch_type_(type)
#define _Landmark_(name)

/* Driver annotations of the first generation that are still in use. */
#define __drv_aliasesMem
#define __drv_allocatesMem(kind)
#define __drv_freesMem(kind)
#define __drv_preferredFunction(function, why)
#define __drv_reportError(why)
#define __drv_when(condition, annotations)
#define __drv_at(target, annotations)
#define __drv_functionClass(name)
#define __drv_sameIRQL
#define __drv_maxIRQL(irql)
#define __drv_minIRQL(irql)
#define __drv_requiresIRQL(irql)
#define __drv_raisesIRQL(irql)
#define __drv_savesIRQL
#define __drv_restoresIRQL
#define __drv_savesIRQLGlobal(kind, target)
#define __drv_restoresIRQLGlobal(kind, target)
#define __drv_setsIRQL(irql)
#define __drv_acquiresExclusiveResource(kind)
#define __drv_releasesExclusiveResource(kind)
#define __drv_acquiresCriticalRegion
#define __drv_releasesCriticalRegion
#define __drv_acquiresResource(kind)
#define __drv_releasesResource(kind)
#define __drv_mustHold(kind)
#define __drv_neverHold(kind)
#define __drv_mustHoldCriticalRegion
#define __drv_neverHoldCriticalRegion
#define __drv_valueIs(list)
#define __drv_in(annotations)
#define __drv_out(annotations)
#define __drv_out_deref(annotations)
#define __drv_in_deref(annotations)
#define __drv_deref(annotations)
#define __drv_ret(annotations)
#define __drv_arg(argument, annotations)
#define __drv_interlocked
#define __drv_inTry
#define __drv_notInTry
#define __drv_isCancelIRQL
#define __drv_useCancelIRQL
#define __drv_dispatchType(type)
#define __drv_dispatchType_other
#define __drv_formatString(kind)
#define __drv_strictType(type, mode)
#define __drv_strictTypeMatch(mode)
#define __drv_constant
#define __drv_nonConstant
#define __drv_completionType(kind)
#define __drv_callbackType(kind)
#define __drv_requiresNoBuffer
#define __drv_unsafeForKernel

/* The analyser's escape hatches. */
#define __analysis_assume(expression) ((void)0)
#define __callback
#define __nullterminated
#define __success(expression)
#define __field_bcount(size)
#define __field_ecount(size)

/* Direction words of the oldest sources. */
#ifndef IN
#define IN
#endif
#ifndef OUT
#define OUT
#endif
#ifndef OPTIONAL
#define OPTIONAL
#endif

#ifdef NTMM_LEGACY_SAL
#define __in
#define __in_opt
#define __in_bcount(size)
#define __in_bcount_opt(size)
#define __in_ecount(size)
#define __in_ecount_opt(size)
#define __in_z
#define __in_range(low, high)
#define __out
#define __out_opt
#define __out_bcount(size)
#define __out_bcount_opt(size)
#define __out_bcount_part(size, count)
#define __out_bcount_part_opt(size, count)
#define __out_ecount(size)
#define __out_ecount_opt(size)
#define __out_ecount_part(size, count)
#define __out_data_source(kind)
#define __inout
#define __inout_opt
#define __inout_bcount(size)
#define __inout_bcount_opt(size)
#define __inout_ecount(size)
#define __deref_out
#define __deref_out_opt
#define __deref_opt_out
#define __deref_inout
#define __deref_inout_opt
#define __deref_out_bcount(size)
#define __deref_out_ecount(size)
#define __reserved
#define __checkReturn
#define __bcount(size)
#define __bcount_opt(size)
#define __ecount(size)
#define __ecount_opt(size)
#endif

#endif
