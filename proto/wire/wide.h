/*
 * wide.h - vectors of 512 bits, where compiler and processor have them: expand.c and elements.c.
 *
 * HAS_WIDE is 1 where the compiler makes code for them; a test that wants both ways in one program
 * defines it before. WIDE_CODE marks a function whose code may use these features ("avx512f", a
 * comma between two): call it only when __builtin_cpu_supports each of them.
 */
#ifndef HF_WIRE_WIDE_H
#define HF_WIRE_WIDE_H

#ifndef HAS_WIDE
#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_WIDE 1
#else
#define HAS_WIDE 0
#endif
#endif

#if defined(__clang__)
#define WIDE_CODE(features) __attribute__((target(features), min_vector_width(512)))
#else
#define WIDE_CODE(features) __attribute__((target(features ",prefer-vector-width=512")))
#endif

#endif
