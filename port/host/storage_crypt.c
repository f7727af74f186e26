/* SPDX-License-Identifier: MIT */
/*
 * Storages whose contents nobody else can read: AES-256 in XTS mode by OpenSSL's libcrypto, page by page, with the page's place in the file as
 * the tweak and a key that is drawn when the storage is opened and dies with it. XTS, because a slot is written again and again: a stream cipher would
 * need a fresh number for each write, and a place to keep it.
 *
 * A page that is being written may change meanwhile and stays its owner's, so writes are encrypted into a copy that lives as long as the request. Reads are
 * decrypted where they arrive: nobody sees a page whose read is under way. Reads may happen inside the fault handler, so a context is
 * taken by trying, and nothing here allocates but by a bare mmap.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#if NTMM_HAVE_LIBCRYPTO

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define HOST_CIPHER_CONTEXTS 16

struct _HOST_CIPHER
{
    EVP_CIPHER_CTX *Context[2][HOST_CIPHER_CONTEXTS]; /* [1]: to encrypt */
    ULONG Busy[2][HOST_CIPHER_CONTEXTS];              /* atomic */
};

static int HostDrawKey(UCHAR Key[64])
{
    return getrandom(Key, 64, 0) == 64 && memcmp(Key, Key + 32, 32) != 0;
}

NTSTATUS HostCreateCipher(HOST_CIPHER **Result)
{
    HOST_CIPHER *Cipher = calloc(1, sizeof(*Cipher));
    UCHAR Key[64];
    UCHAR Tweak[16] = { 0 };
    int Good = Cipher != NULL && HostDrawKey(Key);

    for (int Index = 0; Good && Index < 2 * HOST_CIPHER_CONTEXTS; Index += 1)
    {
        int Encrypt = Index / HOST_CIPHER_CONTEXTS;
        EVP_CIPHER_CTX *Context = EVP_CIPHER_CTX_new();

        Cipher->Context[Encrypt][Index % HOST_CIPHER_CONTEXTS] = Context;
        Good =
            Context != NULL && EVP_CipherInit_ex(Context, EVP_aes_256_xts(), NULL, Key, Tweak, Encrypt) == 1;
    }
    OPENSSL_cleanse(Key, sizeof(Key));
    if (!Good)
    {
        HostDeleteCipher(Cipher);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *Result = Cipher;
    return STATUS_SUCCESS;
}

VOID HostDeleteCipher(HOST_CIPHER *Cipher)
{
    for (int Index = 0; Cipher != NULL && Index < 2 * HOST_CIPHER_CONTEXTS; Index += 1)
    {
        EVP_CIPHER_CTX_free(Cipher->Context[Index / HOST_CIPHER_CONTEXTS][Index % HOST_CIPHER_CONTEXTS]);
    }
    free(Cipher);
}

static int HostTakeContext(HOST_CIPHER *Cipher, int Encrypt)
{
    for (int Index = 0;; Index = (Index + 1) % HOST_CIPHER_CONTEXTS)
    {
        if (__atomic_exchange_n(&Cipher->Busy[Encrypt][Index], 1, __ATOMIC_ACQUIRE) == 0)
        {
            return Index;
        }
        if (Index == HOST_CIPHER_CONTEXTS - 1)
        {
            sched_yield();
        }
    }
}

/* One page; Number is its place in the file. FALSE: libcrypto refused. */
static BOOLEAN HostCipherPage(EVP_CIPHER_CTX *Context, ULONG64 Number, const void *Source, void *Target)
{
    UCHAR Tweak[16] = { 0 };
    int Length = 0;

    memcpy(Tweak, &Number, sizeof(Number));
    return EVP_CipherInit_ex(Context, NULL, NULL, NULL, Tweak, -1) == 1 &&
           EVP_CipherUpdate(Context, Target, &Length, Source, PAGE_SIZE) == 1 && Length == PAGE_SIZE;
}

BOOLEAN HostEncryptIo(PORT_IO *Io)
{
    HOST_CIPHER *Cipher = Io->Storage->Cipher;
    SIZE_T Bytes = (SIZE_T)Io->Count << PAGE_SHIFT;
    void *Copy = mmap(NULL, Bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BOOLEAN Good = Copy != MAP_FAILED;
    int Index;

    if (!Good)
    {
        return FALSE;
    }
    Index = HostTakeContext(Cipher, 1);
    for (ULONG Page = 0; Page < Io->Count && Good; Page += 1)
    {
        Good = HostCipherPage(Cipher->Context[1][Index], (Io->Offset >> PAGE_SHIFT) + Page,
                              PortDirectMap(Io->Frames[Page]), (PUCHAR)Copy + ((SIZE_T)Page << PAGE_SHIFT));
    }
    __atomic_store_n(&Cipher->Busy[1][Index], 0, __ATOMIC_RELEASE);
    HostIo(Io)->Copy = Copy;
    return Good;
}

VOID HostDecryptIo(PORT_IO *Io)
{
    HOST_CIPHER *Cipher = Io->Storage->Cipher;
    ULONG Pages = (ULONG)(Io->Information >> PAGE_SHIFT);
    int Index = HostTakeContext(Cipher, 0);

    for (ULONG Page = 0; Page < Pages; Page += 1)
    {
        PVOID Frame = PortDirectMap(Io->Frames[Page]);

        if (!HostCipherPage(Cipher->Context[0][Index], (Io->Offset >> PAGE_SHIFT) + Page, Frame, Frame))
        {
            Io->Status = STATUS_IO_DEVICE_ERROR;
        }
    }
    __atomic_store_n(&Cipher->Busy[0][Index], 0, __ATOMIC_RELEASE);
}

#else

NTSTATUS HostCreateCipher(HOST_CIPHER **Result)
{
    (void)Result;
    return STATUS_NOT_SUPPORTED;
}

VOID HostDeleteCipher(HOST_CIPHER *Cipher)
{
    (void)Cipher;
}

BOOLEAN HostEncryptIo(PORT_IO *Io)
{
    (void)Io;
    return FALSE; /* no storage has a cipher */
}

VOID HostDecryptIo(PORT_IO *Io)
{
    (void)Io;
}

#endif

VOID HostForgetCopy(PORT_IO *Io)
{
    if (HostIo(Io)->Copy != NULL)
    {
        munmap(HostIo(Io)->Copy, (SIZE_T)Io->Count << PAGE_SHIFT);
        HostIo(Io)->Copy = NULL;
    }
}
