/* Bilinear resizing of an RGB image with the integers of Pillow, for a part of the result only.
 *
 * A pixel of a pass is (sum of coefficient * pixel + 2^21) >> 22, where the coefficients are integers with a sum
 * of about 2^22 (resampling.py computes them). The horizontal pass comes first; its result is rounded to 8 bits.
 * No sum exceeds 2^31, and no result exceeds 255: none of the coefficients is negative, and their sum differs
 * from 2^22 by less than the number of coefficients.
 *
 * This file needs no header of Python. compile_kernel.py compiles it, resampling.py loads it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION 22
#define ROUND (1 << (PRECISION - 1))

typedef struct {
    int64_t width;               /* of the image */
    int64_t row_start, row_stop; /* the rows of the image that the result needs */
    int64_t size;                /* the result is (3, size, size); a multiple of 4 */
    int64_t x_pairs;             /* pairs of coefficients of a column */
    int64_t y_taps;              /* coefficients of a row */
    const int32_t *x_starts;     /* (size,): the first pixel of a column; pixels x_starts + 2 x_pairs - 1 exist */
    const int32_t *x_coefs;      /* (size, x_pairs, 8): each of the two coefficients, four times */
    const int32_t *y_starts;     /* (size,): the first row, counted from row_start; all rows exist */
    const int32_t *y_coefs;      /* (size, y_taps) */
} Plan;

/* CRC-32 of this file, from the command line of the compiler. */
#ifndef SOURCE_CRC
#define SOURCE_CRC 0
#endif
uint32_t biascon_source_crc(void) { return SOURCE_CRC; }

/* Spread pixels of 3 bytes to 4 bytes. */
static void widen_row(const uint8_t *row, int64_t width, uint8_t *wide)
{
    for (int64_t x = 0; x < width; x++) {
        wide[4 * x] = row[3 * x];
        wide[4 * x + 1] = row[3 * x + 1];
        wide[4 * x + 2] = row[3 * x + 2];
        wide[4 * x + 3] = 0;
    }
}

static void resize_row(const Plan *plan, const uint8_t *wide, uint8_t *result)
{
    const int32_t *coefs = plan->x_coefs;
    for (int64_t x = 0; x < plan->size; x++) {
        const uint8_t *pixel = wide + 4 * (int64_t)plan->x_starts[x];
        uint32_t sums[4] = {ROUND, ROUND, ROUND, ROUND};
        for (int64_t tap = 0; tap < 2 * plan->x_pairs; tap++, coefs += 4, pixel += 4)
            for (int k = 0; k < 4; k++)
                sums[k] += (uint32_t)coefs[k] * pixel[k];
        for (int k = 0; k < 4; k++)
            result[4 * x + k] = (uint8_t)(sums[k] >> PRECISION);
    }
}

static void resize_columns(const Plan *plan, const uint8_t *rows, uint8_t *out)
{
    const int64_t size = plan->size, stride = 4 * size, plane = size * size;
    for (int64_t y = 0; y < size; y++) {
        const uint8_t *first = rows + plan->y_starts[y] * stride;
        const int32_t *coefs = plan->y_coefs + y * plan->y_taps;
        for (int64_t x = 0; x < size; x++) {
            uint32_t sums[4] = {ROUND, ROUND, ROUND, ROUND};
            for (int64_t tap = 0; tap < plan->y_taps; tap++)
                for (int k = 0; k < 4; k++)
                    sums[k] += (uint32_t)coefs[tap] * first[tap * stride + 4 * x + k];
            for (int k = 0; k < 3; k++)
                out[k * plane + y * size + x] = (uint8_t)(sums[k] >> PRECISION);
        }
    }
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_AVX2_CODE 1
#include <immintrin.h>

__attribute__((target("avx2"))) static void widen_row_avx2(const uint8_t *row, int64_t width, uint8_t *wide)
{
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    int64_t x = 0;
    for (; x + 6 <= width; x += 4) { /* reads 16 bytes, uses 12 */
        const __m128i pixels = _mm_loadu_si128((const __m128i *)(row + 3 * x));
        _mm_storeu_si128((__m128i *)(wide + 4 * x), _mm_shuffle_epi8(pixels, spread));
    }
    widen_row(row + 3 * x, width - x, wide + 4 * x);
}

__attribute__((target("avx2"))) static void resize_row_avx2(const Plan *plan, const uint8_t *wide, uint8_t *result)
{
    const __m128i half = _mm_set1_epi32(ROUND);
    const __m256i *coefs = (const __m256i *)plan->x_coefs;
    for (int64_t x = 0; x < plan->size; x++) {
        const uint8_t *pixels = wide + 4 * (int64_t)plan->x_starts[x];
        __m256i sums = _mm256_setzero_si256();
        for (int64_t pair = 0; pair < plan->x_pairs; pair++, pixels += 8) {
            const __m256i two = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)pixels));
            sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(two, _mm256_loadu_si256(coefs++)));
        }
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        sum = _mm_srli_epi32(_mm_add_epi32(sum, half), PRECISION);
        sum = _mm_packus_epi32(sum, sum);
        const int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
        memcpy(result + 4 * x, &pixel, 4);
    }
}

__attribute__((target("avx2"))) static void resize_columns_avx2(const Plan *plan, const uint8_t *rows, uint8_t *out)
{
    const int64_t size = plan->size, stride = 4 * size, plane = size * size;
    const __m128i by_channel = _mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
    for (int64_t y = 0; y < size; y++) {
        const uint8_t *first = rows + plan->y_starts[y] * stride;
        const int32_t *coefs = plan->y_coefs + y * plan->y_taps;
        for (int64_t x = 0; x < size; x += 4) {
            const uint8_t *pixels = first + 4 * x;
            __m256i low = _mm256_set1_epi32(ROUND), high = low;
            for (int64_t tap = 0; tap < plan->y_taps; tap++, pixels += stride) {
                const __m256i coef = _mm256_set1_epi32(coefs[tap]);
                const __m256i two = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)pixels));
                const __m256i next = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(pixels + 8)));
                low = _mm256_add_epi32(low, _mm256_mullo_epi32(two, coef));
                high = _mm256_add_epi32(high, _mm256_mullo_epi32(next, coef));
            }
            /* The pixels 0, 2, 1, 3 in this order. */
            const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(low, PRECISION), _mm256_srli_epi32(high, PRECISION));
            __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            bytes = _mm_shuffle_epi8(bytes, by_channel);
            for (int k = 0; k < 3; k++) {
                const int32_t four = _mm_cvtsi128_si32(bytes);
                memcpy(out + k * plane + y * size + x, &four, 4);
                bytes = _mm_srli_si128(bytes, 4);
            }
        }
    }
}
#endif

/* Return whether the processor has the instructions of the fast code. */
int biascon_has_simd(void)
{
#ifdef HAS_AVX2_CODE
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

/* Resize pixels (height, width, 3) to out (3, size, size); return 0, or -1 without memory. */
int biascon_resize(const Plan *plan, const uint8_t *pixels, uint8_t *out, int use_simd)
{
    const int64_t n_rows = plan->row_stop - plan->row_start, stride = 4 * plan->size;
    uint8_t *scratch = malloc((size_t)(n_rows * stride + 4 * plan->width));
    if (!scratch)
        return -1;
    uint8_t *wide = scratch + n_rows * stride;
    const uint8_t *first = pixels + 3 * plan->width * plan->row_start;
#ifdef HAS_AVX2_CODE
    if (use_simd && biascon_has_simd()) {
        for (int64_t row = 0; row < n_rows; row++) {
            widen_row_avx2(first + 3 * plan->width * row, plan->width, wide);
            resize_row_avx2(plan, wide, scratch + row * stride);
        }
        resize_columns_avx2(plan, scratch, out);
        free(scratch);
        return 0;
    }
#endif
    (void)use_simd;
    for (int64_t row = 0; row < n_rows; row++) {
        widen_row(first + 3 * plan->width * row, plan->width, wide);
        resize_row(plan, wide, scratch + row * stride);
    }
    resize_columns(plan, scratch, out);
    free(scratch);
    return 0;
}
