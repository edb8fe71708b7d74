/* Counts the blocks of memory that CPython gives to one thread. It stands in front of the allocators of objects and of
   their buffers, and hands every call on to them (PyMem_SetAllocator, the same from Python 3.5 on). The interpreter's
   lock is held in all of it. */
#include <stddef.h>

enum { BUFFERS = 1, OBJECTS = 2, DOMAINS = 3 };

typedef struct {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t count, size_t size);
    void *(*realloc)(void *ctx, void *block, size_t size);
    void (*free)(void *ctx, void *block);
} Allocator;

void PyMem_GetAllocator(int domain, Allocator *allocator);
void PyMem_SetAllocator(int domain, Allocator *allocator);

static Allocator before[DOMAINS];
static _Thread_local int is_counted;
static long blocks;

static void *malloc_counted(void *ctx, size_t size) {
    Allocator *next = ctx;
    blocks += is_counted;
    return next->malloc(next->ctx, size);
}

static void *calloc_counted(void *ctx, size_t count, size_t size) {
    Allocator *next = ctx;
    blocks += is_counted;
    return next->calloc(next->ctx, count, size);
}

static void *realloc_counted(void *ctx, void *block, size_t size) {
    Allocator *next = ctx;
    blocks += is_counted && block == NULL;
    return next->realloc(next->ctx, block, size);
}

static void free_as_before(void *ctx, void *block) {
    Allocator *next = ctx;
    next->free(next->ctx, block);
}

void begin(void) {
    is_counted = 1;
    for (int domain = BUFFERS; domain < DOMAINS; domain++) {
        PyMem_GetAllocator(domain, &before[domain]);
        Allocator counting = {&before[domain], malloc_counted, calloc_counted, realloc_counted, free_as_before};
        PyMem_SetAllocator(domain, &counting);
    }
}

long counted(void) { return blocks; }

void end(void) {
    is_counted = 0;
    for (int domain = BUFFERS; domain < DOMAINS; domain++) PyMem_SetAllocator(domain, &before[domain]);
}
