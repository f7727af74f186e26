/* SPDX-License-Identifier: MIT */
/*
 * The namespace: a flat hash of full names, which is all that sections and notification events need. The hash is that of the name without case,
 * so that one list has all spellings, whether a caller tells them apart or not. A name holds no reference. Looking up therefore takes its
 * reference only if there is still one to be shared, and a dying object is as good as gone although its name is still linked.
 */
#include "ob/ob.h"
#include "rtl/memory.h"

#define OB_NAME_TAG MI_TAG('O', 'b', 'N', 'm')

static VOID ObpLockNames(void)
{
    KiAcquirePushLockExclusive(&MiState.Ob->NameLock);
    KiNoteLockAcquired(&MiState.Ob->NameLock, KiLockHandleTable, FALSE);
}

static VOID ObpUnlockNames(void)
{
    KiNoteLockReleased(&MiState.Ob->NameLock);
    KiReleasePushLockExclusive(&MiState.Ob->NameLock);
}

static PLIST_ENTRY ObpNameBucket(PCUNICODE_STRING Name)
{
    ULONG Hash = 0;

    (VOID) RtlHashUnicodeString(Name, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &Hash);
    return &MiState.Ob->Names[(Hash ^ (Hash >> 16)) % OB_NAME_BUCKETS];
}

/* A referenced object of that name or NULL. Names locked, shared or exclusive. */
static PVOID ObpFindName(PCUNICODE_STRING Name, ULONG Attributes)
{
    PLIST_ENTRY Bucket = ObpNameBucket(Name);
    BOOLEAN AnyCase = !MiState.Ob->CaseSensitive || (Attributes & OBJ_CASE_INSENSITIVE) != 0;

    for (PLIST_ENTRY Entry = Bucket->Flink; Entry != Bucket; Entry = Entry->Flink)
    {
        OBJECT_HEADER *Header = CONTAINING_RECORD(Entry, OBJECT_HEADER, NameLinks);

        if (RtlEqualUnicodeString(&Header->Name, Name, AnyCase) && ObReferenceObjectSafe(Header + 1))
        {
            return Header + 1;
        }
    }
    return NULL;
}

NTSTATUS ObInsertName(PVOID Object, PCUNICODE_STRING Name, ULONG Attributes)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    NTSTATUS Status = STATUS_SUCCESS;
    PVOID Existing;
    PWCH Buffer;

    if (Name->Length == 0 || Name->Length % sizeof(WCHAR) != 0)
    {
        return STATUS_OBJECT_NAME_INVALID;
    }
    Buffer = MiAllocatePool(Name->Length, OB_NAME_TAG);
    if (Buffer == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyMemory(Buffer, Name->Buffer, Name->Length);
    ObpLockNames();
    Existing = ObpFindName(Name, Attributes);
    if (Existing != NULL)
    {
        Status = STATUS_OBJECT_NAME_COLLISION;
    }
    else if (Header->Name.Buffer != NULL)
    {
        Status = STATUS_INVALID_PARAMETER;
    }
    else
    {
        Header->Name.Length = Name->Length;
        Header->Name.MaximumLength = Name->Length;
        __atomic_store_n(&Header->Name.Buffer, Buffer, __ATOMIC_RELAXED);
        InsertTailList(ObpNameBucket(Name), &Header->NameLinks);
    }
    ObpUnlockNames();
    if (Existing != NULL)
    {
        ObDereferenceObjectBody(Existing);
    }
    if (!NT_SUCCESS(Status))
    {
        MiFreePool(Buffer, OB_NAME_TAG);
    }
    return Status;
}

/* Names locked. Returns the buffer to free, if there was a name. */
static PWCH ObpUnlinkName(OBJECT_HEADER *Header)
{
    PWCH Buffer = Header->Name.Buffer;

    if (Buffer != NULL)
    {
        RemoveEntryList(&Header->NameLinks);
        Header->Name.Length = 0;
        Header->Name.MaximumLength = 0;
        __atomic_store_n(&Header->Name.Buffer, NULL, __ATOMIC_RELAXED);
    }
    return Buffer;
}

static VOID ObpFreeName(PWCH Buffer)
{
    if (Buffer != NULL)
    {
        MiFreePool(Buffer, OB_NAME_TAG);
    }
}

VOID ObRemoveName(PVOID Object)
{
    PWCH Buffer;

    ObpLockNames();
    Buffer = ObpUnlinkName(ObHeader(Object));
    ObpUnlockNames();
    ObpFreeName(Buffer);
}

VOID ObRemoveUnusedName(PVOID Object)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    PWCH Buffer = NULL;

    if (__atomic_load_n(&Header->Name.Buffer, __ATOMIC_RELAXED) == NULL)
    {
        return; /* most objects have no name, and closing their handles should not meet at one lock */
    }
    ObpLockNames();
    if (!Header->Permanent && __atomic_load_n(&Header->HandleCount, __ATOMIC_ACQUIRE) == 0)
    {
        Buffer = ObpUnlinkName(Header);
    }
    ObpUnlockNames();
    ObpFreeName(Buffer);
}

VOID ObSetPermanent(PVOID Object, BOOLEAN Permanent)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    BOOLEAN Change;

    ObpLockNames();
    Change = Header->Permanent != Permanent && (!Permanent || Header->Name.Buffer != NULL);
    if (Change)
    {
        Header->Permanent = Permanent;
    }
    ObpUnlockNames();
    if (Change && Permanent)
    {
        ObReferenceObjectBody(Object);
    }
    else if (Change)
    {
        ObRemoveUnusedName(Object);
        ObDereferenceObjectBody(Object);
    }
}

/* A referenced permanent object, or NULL. */
static PVOID ObpFindPermanent(void)
{
    PVOID Found = NULL;

    ObpLockNames();
    for (ULONG Bucket = 0; Bucket < OB_NAME_BUCKETS && Found == NULL; Bucket++)
    {
        PLIST_ENTRY List = &MiState.Ob->Names[Bucket];

        for (PLIST_ENTRY Entry = List->Flink; Entry != List && Found == NULL; Entry = Entry->Flink)
        {
            OBJECT_HEADER *Header = CONTAINING_RECORD(Entry, OBJECT_HEADER, NameLinks);

            Found = Header->Permanent && ObReferenceObjectSafe(Header + 1) ? Header + 1 : NULL;
        }
    }
    ObpUnlockNames();
    return Found;
}

VOID ObMakeAllTemporary(void)
{
    PVOID Object;

    while ((Object = ObpFindPermanent()) != NULL)
    {
        ObSetPermanent(Object, FALSE);
        ObDereferenceObjectBody(Object);
    }
}

NTSTATUS ObLookupName(PCUNICODE_STRING Name, ULONG Attributes, const OB_TYPE *Type, PVOID *Object)
{
    PVOID Found;

    KiAcquirePushLockShared(&MiState.Ob->NameLock);
    KiNoteLockAcquired(&MiState.Ob->NameLock, KiLockHandleTable, FALSE);
    Found = ObpFindName(Name, Attributes);
    KiNoteLockReleased(&MiState.Ob->NameLock);
    KiReleasePushLockShared(&MiState.Ob->NameLock);
    if (Found == NULL)
    {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    if (Type != NULL && ObGetType(Found) != Type)
    {
        ObDereferenceObjectBody(Found);
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    *Object = Found;
    return STATUS_SUCCESS;
}
