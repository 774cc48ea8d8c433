#include "backend/arena.h"

enum { ALIGNMENT = 64 };

zi_arena zi_arena_measure(void)
{
    return (zi_arena){.size = SIZE_MAX};
}

zi_arena zi_arena_in(zi_buffer *buffer)
{
    return (zi_arena){.buffer = buffer, .size = buffer->size};
}

zi_arena zi_arena_within(zi_view bytes)
{
    return (zi_arena){
        .buffer = bytes.buffer, .offset = bytes.offset, .size = bytes.rows * bytes.columns};
}

zi_view zi_arena_take(zi_arena *arena, zi_dtype type, size_t rows, size_t columns)
{
    size_t bytes, end;
    zi_view view = {.type = type, .rows = rows, .columns = columns, .stride = columns};
    if (__builtin_mul_overflow(rows, columns, &bytes) ||
        __builtin_mul_overflow(bytes, zi_dtype_size(type), &bytes) ||
        __builtin_add_overflow(bytes, (size_t)(ALIGNMENT - 1), &bytes) ||
        __builtin_add_overflow(arena->used, bytes / ALIGNMENT * ALIGNMENT, &end) ||
        end > arena->size) {
        arena->overflow = true;
        return view;
    }
    view.buffer = arena->buffer;
    view.offset = arena->offset + arena->used;
    arena->used = end;
    if (end > arena->peak) arena->peak = end;
    return view;
}
