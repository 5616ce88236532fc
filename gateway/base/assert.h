/* Asserts that stay on in production, for our own invariants, never for what a peer or the kernel does. */
#pragma once

_Noreturn void pg_assert_failed(const char *expression, const char *file, int line);

#define PG_ASSERT(e) (__builtin_expect(!!(e), 1) ? (void)0 : pg_assert_failed(#e, __FILE__, __LINE__))
