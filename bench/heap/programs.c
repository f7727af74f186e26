/* SPDX-License-Identifier: MIT */
/*
 * Real small-object work of the kind of cfrac and espresso: programs that compute something, and allocate as programs do.
 * The result is printed to stderr by nobody and kept in a volatile, so that the work is not optimized away.
 */
#include "heapbench.h"

static volatile uint64_t result;

/* ---- cfrac-like: multi-precision numbers, each result in a block of its own ---- */

typedef struct
{
    uint32_t length;
    uint32_t digits[];
} number;

static number *number_new(uint32_t length)
{
    number *n = malloc(sizeof(number) + length * sizeof(uint32_t));

    if (n == NULL)
    {
        exit(1);
    }

    n->length = length;

    return n;
}

static number *number_multiply(const number *a, uint32_t by, uint32_t add)
{
    number *product = number_new(a->length + 1);
    uint64_t carry = add;

    for (uint32_t i = 0; i < a->length; i += 1)
    {
        carry += (uint64_t)a->digits[i] * by;
        product->digits[i] = (uint32_t)carry;
        carry >>= 32;
    }

    product->digits[a->length] = (uint32_t)carry;
    product->length = a->length + (carry != 0);

    return product;
}

static number *number_divide(const number *a, uint32_t by, uint32_t *rest)
{
    number *quotient = number_new(a->length);
    uint64_t left = 0;

    for (uint32_t i = a->length; i-- > 0;)
    {
        left = left << 32 | a->digits[i];
        quotient->digits[i] = (uint32_t)(left / by);
        left %= by;
    }

    while (quotient->length > 1 && quotient->digits[quotient->length - 1] == 0)
    {
        quotient->length -= 1;
    }

    *rest = (uint32_t)left;

    return quotient;
}

static void run_cfrac(int threads, int scale)
{
    bench_random random = { 1 };

    (void)threads;
    for (int round = 0; round < 150000 * scale; round += 1)
    {
        number *n = number_new(1);

        n->digits[0] = bench_draw(&random) | 1;
        for (int i = 0; i < 12; i += 1)
        {
            number *next = number_multiply(n, bench_draw(&random) | 1, 7);

            free(n);
            n = next;
        }

        for (uint32_t prime = 3; prime < 100; prime += 2)
        {
            uint32_t rest;
            number *quotient = number_divide(n, prime, &rest);

            if (rest == 0)
            {
                free(n);
                n = quotient;
            }
            else
            {
                free(quotient);
            }
        }

        result += n->digits[0];
        free(n);
    }
}

/* ---- espresso-like: covers of cubes, split and merged recursively ---- */

typedef struct
{
    int count;
    int room;
    uint64_t **cubes;
} cover;

static cover *cover_new(void)
{
    cover *c = calloc(1, sizeof(cover));

    if (c == NULL)
    {
        exit(1);
    }

    return c;
}

static void cover_add(cover *c, const uint64_t *cube, int words)
{
    if (c->count == c->room)
    {
        c->room = c->room * 2 + 4;
        c->cubes = realloc(c->cubes, (size_t)c->room * sizeof(uint64_t *));
        if (c->cubes == NULL)
        {
            exit(1);
        }
    }

    uint64_t *copy = malloc((size_t)words * sizeof(uint64_t));

    if (copy == NULL)
    {
        exit(1);
    }

    memcpy(copy, cube, (size_t)words * sizeof(uint64_t));
    c->cubes[c->count] = copy;
    c->count += 1;
}

static void cover_free(cover *c)
{
    for (int i = 0; i < c->count; i += 1)
    {
        free(c->cubes[i]);
    }

    free(c->cubes);
    free(c);
}

static uint64_t cover_weight(const cover *c, int words, int variable)
{
    if (c->count <= 2 || variable == 60)
    {
        return (uint64_t)c->count;
    }

    cover *low = cover_new();
    cover *high = cover_new();

    for (int i = 0; i < c->count; i += 1)
    {
        const uint64_t *cube = c->cubes[i];
        const uint64_t bits = cube[variable % words] >> variable & 3;

        if (bits != 2)
        {
            cover_add(low, cube, words);
        }

        if (bits != 1 && bits != 0)
        {
            cover_add(high, cube, words);
        }
    }

    const uint64_t weight = cover_weight(low, words, variable + 2) + cover_weight(high, words, variable + 2);

    cover_free(low);
    cover_free(high);

    return weight;
}

static void run_espresso(int threads, int scale)
{
    bench_random random = { 3 };

    (void)threads;
    for (int round = 0; round < 2000 * scale; round += 1)
    {
        const int words = 1 + round % 6;
        cover *c = cover_new();

        for (int i = 0; i < 160; i += 1)
        {
            uint64_t cube[8];

            for (int w = 0; w < words; w += 1)
            {
                cube[w] = (uint64_t)bench_draw(&random) << 33 ^ bench_draw(&random);
            }

            cover_add(c, cube, words);
        }

        result += cover_weight(c, words, 0);
        cover_free(c);
    }
}

/* ---- an interpreter's day: strings interned in a hash table, records with fields, lists that come and go ---- */

typedef struct entry
{
    struct entry *next;
    uint64_t hash;
    uint32_t uses;
    char text[];
} entry;

static void run_interpreter(int threads, int scale)
{
    enum
    {
        chains = 1 << 16
    };
    entry **table = calloc(chains, sizeof(entry *));
    bench_random random = { 41 };
    int entries = 0;

    (void)threads;
    if (table == NULL)
    {
        exit(1);
    }

    for (int i = 0; i < 2000000 * scale; i += 1)
    {
        char text[64];
        uint64_t hash = 14695981039346656037ull;
        bench_random letters = { bench_below(&random, 200000) * 2654435761ull };
        const uint32_t length = 4 + bench_below(&letters, 28);

        for (uint32_t at = 0; at < length; at += 1)
        {
            text[at] = (char)('a' + bench_below(&letters, 26));
            hash = (hash ^ (uint8_t)text[at]) * 1099511628211ull;
        }

        text[length] = 0;
        entry **place = &table[hash % chains];

        while (*place != NULL && ((*place)->hash != hash || strcmp((*place)->text, text) != 0))
        {
            place = &(*place)->next;
        }

        if (*place == NULL)
        {
            entry *e = malloc(sizeof(entry) + length + 1);

            if (e == NULL)
            {
                exit(1);
            }

            e->next = NULL;
            e->hash = hash;
            e->uses = 1;
            memcpy(e->text, text, length + 1);
            *place = e;
            entries += 1;
        }
        else if (bench_below(&random, 4) == 0)
        {
            entry *dead = *place;

            *place = dead->next;
            free(dead);
            entries -= 1;
        }
        else
        {
            (*place)->uses += 1;
        }
    }

    result += (uint64_t)entries;
    for (int i = 0; i < chains; i += 1)
    {
        while (table[i] != NULL)
        {
            entry *dead = table[i];

            table[i] = dead->next;
            free(dead);
        }
    }

    free(table);
}

/* ---- trees built and dropped, as binary-trees of the Benchmarks Game is described ---- */

typedef struct tree
{
    struct tree *left, *right;
} tree;

static tree *tree_build(int depth)
{
    tree *t = malloc(sizeof(tree));

    if (t == NULL)
    {
        exit(1);
    }

    t->left = depth > 0 ? tree_build(depth - 1) : NULL;
    t->right = depth > 0 ? tree_build(depth - 1) : NULL;

    return t;
}

static uint64_t tree_drop(tree *t)
{
    uint64_t count = 1;

    if (t->left != NULL)
    {
        count += tree_drop(t->left) + tree_drop(t->right);
    }

    free(t);

    return count;
}

static void run_trees(int threads, int scale)
{
    (void)threads;
    tree *kept = tree_build(16);

    for (int depth = 4; depth <= 16; depth += 2)
    {
        for (int i = 0; i < (1 << (16 - depth)) * 30 * scale; i += 1)
        {
            result += tree_drop(tree_build(depth));
        }
    }

    result += tree_drop(kept);
}

const bench_workload bench_programs[] = {
    { "cfrac", run_cfrac, "multi-precision numbers" },
    { "espresso", run_espresso, "covers of cubes" },
    { "interpreter", run_interpreter, "strings in a hash table" },
    { "trees", run_trees, "binary trees built and dropped" },
    { 0 },
};
