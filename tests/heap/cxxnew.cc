// SPDX-License-Identifier: MIT
// What C++ asks of operator new and delete, as check_cxxnew.sh builds it:
//   (nothing)    new handlers, std::bad_alloc, the nothrow, array and aligned forms
//   REPLACED     a program that replaces the plain forms alone, which all others must come from
//   PLUGIN       a library that brings the C++ library into a C program
#include <cstdio>
#include <cstdlib>
#include <new>

#define REQUIRE(condition)                                                                                   \
    do                                                                                                       \
    {                                                                                                        \
        if (!(condition))                                                                                    \
        {                                                                                                    \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                             \
            std::exit(1);                                                                                    \
        }                                                                                                    \
    } while (0)

static void *volatile sink; // else compilers leave allocations out
static volatile std::size_t huge = static_cast<std::size_t>(1) << 62;

template <class Call> static bool throws(Call call)
{
    try
    {
        sink = call();
    }
    catch (const std::bad_alloc &)
    {
        return true;
    }
    return false;
}

#if defined(PLUGIN)

extern "C" int try_everything()
{
    return throws([] { return ::operator new(huge); }) &&
                   throws([] { return ::operator new[](huge, std::align_val_t(64)); }) &&
                   ::operator new(huge, std::nothrow) == nullptr
               ? 0
               : 1;
}

#elif defined(REPLACED)

struct part
{
    int values[10];
    part() {}
    ~part() {}
};

static int live;
static const std::size_t head = 32;

void *operator new(std::size_t size)
{
    char *block = static_cast<char *>(std::malloc(size + head));
    if (block == nullptr)
    {
        throw std::bad_alloc();
    }
    ++live;
    return block + head;
}

void operator delete(void *block) noexcept
{
    if (block != nullptr)
    {
        --live;
        std::free(static_cast<char *>(block) - head);
    }
}

// Not inlined, so that the compiler does not leave pairs out.
template <class Type> static void __attribute__((noinline)) end(Type *one, Type *many)
{
    delete one;
    delete[] many;
}

int main()
{
    part *one = new part;
    part *many = new part[3];
    REQUIRE(live == 2);
    end(one, many);
    int *number = new (std::nothrow) int;
    int *numbers = new (std::nothrow) int[100];
    REQUIRE(live == 2);
    end(number, numbers);
    void *plain = ::operator new(10);
    ::operator delete(plain, std::nothrow);
    plain = ::operator new[](10);
    ::operator delete[](plain, std::nothrow);
    plain = ::operator new[](10);
    ::operator delete[](plain, static_cast<std::size_t>(10));
    plain = ::operator new(10);
    ::operator delete(plain, static_cast<std::size_t>(10));
    REQUIRE(live == 0);
}

#else

struct alignas(128) wide
{
    char bytes[200];
};

static int calls;

static void give_up()
{
    ++calls;
    throw std::bad_alloc();
}

static void third_time()
{
    if (++calls == 3)
    {
        std::set_new_handler(nullptr);
    }
}

static bool is_aligned(const void *block, std::size_t alignment)
{
    return block != nullptr && reinterpret_cast<std::size_t>(block) % alignment == 0;
}

int main()
{
    // A nothrow form returns null also when the handler throws.
    std::set_new_handler(give_up);
    REQUIRE(::operator new(huge, std::nothrow) == nullptr && calls == 1);
    REQUIRE(::operator new[](huge, std::nothrow) == nullptr && calls == 2);
    REQUIRE(::operator new(huge, std::align_val_t(64), std::nothrow) == nullptr && calls == 3);
    REQUIRE(::operator new[](huge, std::align_val_t(64), std::nothrow) == nullptr && calls == 4);
    REQUIRE(throws([] { return ::operator new(huge); }) && calls == 5);

    // The handler is called until it gives memory, throws, or is none.
    calls = 0;
    std::set_new_handler(third_time);
    REQUIRE(throws([] { return ::operator new[](huge); }) && calls == 3);
    REQUIRE(throws([] { return ::operator new(huge, std::align_val_t(4096)); }) && calls == 3);
    REQUIRE(throws([] { return new int[huge]; })); // bad_array_new_length

    wide *one = new wide;
    wide *many = new wide[5];
    wide *quiet = new (std::nothrow) wide;
    REQUIRE(is_aligned(one, 128) && is_aligned(many, 128) && is_aligned(quiet, 128));
    delete one;
    delete[] many;
    delete quiet;
    void *block = ::operator new(5, std::align_val_t(1 << 20));
    REQUIRE(is_aligned(block, 1 << 20));
    ::operator delete(block, static_cast<std::size_t>(5), std::align_val_t(1 << 20));
    block = ::operator new[](5, std::align_val_t(32));
    ::operator delete[](block, static_cast<std::size_t>(5), std::align_val_t(32));
    block = ::operator new(5, std::align_val_t(32));
    ::operator delete(block, std::align_val_t(32), std::nothrow);
    block = ::operator new[](5, std::align_val_t(32));
    ::operator delete[](block, std::align_val_t(32), std::nothrow);
    block = ::operator new(0);
    REQUIRE(block != nullptr);
    ::operator delete(block, static_cast<std::size_t>(0));
    ::operator delete(nullptr);
}

#endif
