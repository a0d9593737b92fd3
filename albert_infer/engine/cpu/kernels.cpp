// The operations of an ALBERT layer between its matrix products, each in one pass over memory: attention of short pairs,
// activation, residual and LayerNorm, and the quantisation of the next product's input.
//
// Shapes: T tokens, N columns; inside attention L tokens of one pair, D columns of one head. Arrays are row-major.
// bf16 numbers are the upper halves of fp32 numbers; all computation is in fp32. One thread; the caller runs several.
// Vectors are an extension of the compiler (GCC, Clang), so no code is for one processor. Columns fill whole vectors.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

// A vector is one register. VECTORS is how many of a query the registers take: 32 of 512 bits, 16 of 256, or 32 of 128.
#if defined(__AVX512F__)
constexpr int LANES = 16, VECTORS = 4;
#elif defined(__AVX2__)
constexpr int LANES = 8, VECTORS = 2;
#else
constexpr int LANES = 4, VECTORS = 4;
#endif
using floats = float __attribute__((vector_size(4 * LANES)));
using ints = int32_t __attribute__((vector_size(4 * LANES)));
using words = uint32_t __attribute__((vector_size(4 * LANES)));
using halves = uint16_t __attribute__((vector_size(2 * LANES)));
using octets = uint8_t __attribute__((vector_size(LANES)));
using bytes = uint8_t __attribute__((vector_size(4 * LANES)));
using bf16 = uint16_t;

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr float LOG2_E = 1.44269504088896341f;
// Added to a small fp32 number, it puts the nearest whole number into the low bits.
constexpr float ROUNDING = 12582912.0f;
// Quantised numbers are unsigned, at most 127 away from ZERO_POINT. SMALLEST_SCALE avoids a division by zero.
constexpr int ZERO_POINT = 128;
constexpr float LARGEST = 127;
constexpr float SMALLEST_SCALE = std::numeric_limits<float>::min();
// Queries that share each load of a key: QUERIES × VECTORS sums fit the registers.
constexpr int QUERIES = 6;

inline floats all(float x) { return floats{} + x; }

inline floats load(const float *from) {
    floats x;
    memcpy(&x, from, sizeof x);
    return x;
}

inline floats load(const bf16 *from) {
    halves upper;
    memcpy(&upper, from, sizeof upper);
    return (floats)(__builtin_convertvector(upper, words) << 16);
}

inline void store(float *to, floats x) { memcpy(to, &x, sizeof x); }

inline void store(bf16 *to, floats x) {
#ifdef __AVX512BF16__
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)x);
#else
    // Round to the nearest, ties to even; NaN stays NaN.
    const words bits = (words)x, nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const halves rounded = __builtin_convertvector(x == x ? nearest : (bits >> 16) | 0x40, halves);
#endif
    memcpy(to, &rounded, sizeof(halves));
}

// The lowest byte of each lane.
template <int... LANE>
inline octets lowest_bytes(ints x, std::integer_sequence<int, LANE...>) {
    // Compilers convert vectors of fewer lanes one number at a time.
    if constexpr (LANES == 16) return __builtin_convertvector(x & 255, octets);
    else return __builtin_shufflevector((bytes)x, (bytes)x, (4 * LANE)...);
}

inline floats larger(floats a, floats b) { return a > b ? a : b; }
inline floats smaller(floats a, floats b) { return a < b ? a : b; }

template <int STEP, int... LANE>
inline floats swapped(floats x, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(x, x, (LANE ^ STEP)...);
}

// Combine all lanes into one, in a tree.
template <int STEP = LANES / 2, class Combine>
inline float combined(floats x, Combine combine) {
    if constexpr (STEP == 0) return x[0];
    else return combined<STEP / 2>(combine(x, swapped<STEP>(x, std::make_integer_sequence<int, LANES>{})), combine);
}

inline float sum(floats x) {
    return combined(x, [](floats a, floats b) { return a + b; });
}

// 2^x for x ≤ 0, to 4e-6; 0 from -126 down. A polynomial of the fraction, and the whole number added to the exponent.
inline floats power_of_2(floats x) {
    x = larger(x, all(-126));
    const floats whole = (x + ROUNDING) - ROUNDING, fraction = x - whole;
    floats power = all(9.6180290e-3f);
    for (const float coefficient : {5.5503324e-2f, 2.4022648e-1f, 6.9314718e-1f, 1.0f})
        power = power * fraction + coefficient;
    return (floats)((ints)power + (__builtin_convertvector(whole, ints) << 23));
}

// x · gate(x), with a gate from 0 to 1: 1/2 + x · polynomial(x²) between ±bound, and constant beyond.
struct Gate {
    static constexpr int TERMS = 7;
    float coefficients[TERMS], bound;
};

inline floats gated(floats x, const Gate &gate) {
    const floats inside = smaller(larger(x, all(-gate.bound)), all(gate.bound)), square = inside * inside;
    floats polynomial = all(gate.coefficients[Gate::TERMS - 1]);
    for (int term = Gate::TERMS - 2; term >= 0; term--) polynomial = polynomial * square + gate.coefficients[term];
    return x * (polynomial * inside + 0.5f);
}

// The forms of a product: of bf16 rows, and of quantised rows with states in bf16 or fp32.
struct Bf16 {
    using State = bf16;
    static constexpr bool QUANTIZED = false;
};
template <class STATE>
struct Int8 {
    using State = STATE;
    static constexpr bool QUANTIZED = true;
};

// A product. Its value is state + bias of the column. Of quantised rows it is state × scale of the row + center of the
// row × sum of the column's weights + bias.
struct Product {
    const void *states;
    size_t state_bytes, stride;
    const float *biases, *scales, *centers, *sums;

    template <class Form>
    floats at(size_t row, size_t column) const {
        const auto from = (const typename Form::State *)states + row * stride + column;
        const floats state = load(from), bias = load(biases + column);
        if constexpr (!Form::QUANTIZED) return state + bias;
        else return state * scales[row] + (load(sums + column) * centers[row] + bias);
    }
};

// The input of a product: states in bf16, or quantised with a scale and a center for each row, or both.
struct Operand {
    bf16 *states;
    uint8_t *quantized;
    float *scales, *centers;
};

// A row of numbers to write into an operand. If it is QUANTIZED, scale and center follow from `lowest` and `highest`.
template <bool QUANTIZED>
struct Row {
    float *values;
    floats lowest = all(INFINITE), highest = all(-INFINITE), total = {};

    void put(size_t column, floats x) {
        store(values + column, x);
        if constexpr (QUANTIZED) {
            lowest = smaller(lowest, x);
            highest = larger(highest, x);
            total += x;
        }
    }

    void write(size_t row, size_t columns, const Operand &to) const {
        if (to.states)
            for (size_t n = 0; n < columns; n += LANES) store(to.states + row * columns + n, load(values + n));
        if constexpr (QUANTIZED) quantize(columns, to.quantized + row * columns, to.scales[row], to.centers[row]);
    }

    void quantize(size_t columns, uint8_t *to, float &scale, float &center) const {
        const float low = combined(lowest, smaller), high = combined(highest, larger);
        center = (high + low) / 2;
        scale = std::fmax((high - low) / (2 * LARGEST), SMALLEST_SCALE);
        const float inverse = 1 / scale, shift = ROUNDING + ZERO_POINT;
        for (size_t n = 0; n < columns; n += LANES) {
            const ints whole = (ints)((load(values + n) - center) * inverse + shift);
            const octets numbers = lowest_bytes(whole, std::make_integer_sequence<int, LANES>{});
            memcpy(to + n, &numbers, sizeof numbers);
        }
        // A row that is not finite stays so. A minimum may ignore NaN, a sum does not.
        if (!std::isfinite(sum(total))) scale = NAN;
    }
};

// c (ROWS × COLUMNS vectors) = a (ROWS × inner) · b (inner × COLUMNS vectors), with all of c in registers.
template <int ROWS, int COLUMNS>
[[gnu::always_inline]] inline void multiply(size_t inner, const float *a, size_t a_stride, const float *b,
                                            size_t b_stride, float *c, size_t c_stride) {
    floats sums[ROWS][COLUMNS] = {};
    for (size_t k = 0; k < inner; k++) {
        floats row[COLUMNS];
        for (int j = 0; j < COLUMNS; j++) row[j] = load(b + k * b_stride + j * LANES);
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLUMNS; j++) sums[i][j] += row[j] * a[i * a_stride + k];
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) store(c + i * c_stride + j * LANES, sums[i][j]);
}

// The same for any number of columns, some vectors at a time.
template <int ROWS, int AT_ONCE = VECTORS>
[[gnu::always_inline]] inline void multiply_all(size_t columns, size_t inner, const float *a, size_t a_stride,
                                                const float *b, size_t b_stride, float *c, size_t c_stride) {
    size_t n = 0;
    for (; n + AT_ONCE * LANES <= columns; n += AT_ONCE * LANES)
        multiply<ROWS, AT_ONCE>(inner, a, a_stride, b + n, b_stride, c + n, c_stride);
    if constexpr (AT_ONCE > 1)
        multiply_all<ROWS, AT_ONCE - 1>(columns - n, inner, a, a_stride, b + n, b_stride, c + n, c_stride);
}

template <int STEP, int... LANE>
inline void exchange(floats &a, floats &b, std::integer_sequence<int, LANE...>) {
    const floats first = __builtin_shufflevector(a, b, (LANE & STEP ? (LANE ^ STEP) + LANES : LANE)...);
    b = __builtin_shufflevector(a, b, (LANE & STEP ? LANE + LANES : (LANE ^ STEP))...);
    a = first;
}

// Transpose a square of LANES rows by exchanging larger and larger blocks across the diagonal.
template <int STEP = 1>
inline void transpose(floats (&square)[LANES]) {
    if constexpr (STEP < LANES) {
        for (int row = 0; row < LANES; row++)
            if (!(row & STEP))
                exchange<STEP>(square[row], square[row + STEP], std::make_integer_sequence<int, LANES>{});
        transpose<STEP * 2>(square);
    }
}

// One head of one pair, in fp32: queries (queries × D), scaled for powers of 2; keys (D × padded); values (L × D).
struct Head {
    size_t length, padded, columns;
    float *queries, *keys, *values, *weights, *context;

    static size_t padded_to_vectors(size_t length) { return (length + LANES - 1) / LANES * LANES; }

    Head(size_t length, size_t columns, float *scratch) : length(length), padded(padded_to_vectors(length)), columns(columns) {
        queries = scratch;
        keys = queries + length * columns;
        values = keys + padded * columns;
        weights = values + length * columns;
        context = weights + QUERIES * padded;
    }

    template <class Form>
    void read(const Product &query, size_t first_query, size_t n_queries, const Product &key, const Product &value,
              size_t first, size_t column) {
        const float scale = LOG2_E / std::sqrt((float)columns);
        for (size_t d = 0; d < columns; d += LANES) {
            for (size_t t = 0; t < n_queries; t++)
                store(queries + t * columns + d, query.at<Form>(first_query + t, column + d) * scale);
            for (size_t t = 0; t < length; t++) store(values + t * columns + d, value.at<Form>(first + t, column + d));
            for (size_t t = 0; t < length; t += LANES) read_keys<Form>(key, first, t, column, d);
        }
    }

    template <class Form>
    void read_keys(const Product &key, size_t first, size_t t, size_t column, size_t d) {
        floats square[LANES];
        for (size_t row = 0; row < LANES; row++)
            square[row] = t + row < length ? key.at<Form>(first + t + row, column + d) : floats{};
        transpose(square);
        for (size_t row = 0; row < LANES; row++) store(keys + (d + row) * padded + t, square[row]);
    }

    // Write the context of ROWS queries, the weighted means of the values, to ROWS rows of `to`.
    template <int ROWS>
    void attend(size_t query, float *to, size_t stride) const {
        multiply_all<ROWS>(padded, columns, queries + query * columns, columns, keys, padded, weights, padded);
        float totals[ROWS];
        for (int row = 0; row < ROWS; row++) totals[row] = to_powers(weights + row * padded);
        multiply_all<ROWS>(columns, length, weights, padded, values, columns, context, columns);
        for (int row = 0; row < ROWS; row++)
            for (size_t d = 0; d < columns; d += LANES)
                store(to + row * stride + d, load(context + row * columns + d) * (1 / totals[row]));
    }

    // Replace a row of scores by powers of 2 of (score − maximum), and return their sum: a softmax before its division.
    float to_powers(float *scores) const {
        ints lane;
        for (int i = 0; i < LANES; i++) lane[i] = i;
        const size_t last = padded - LANES;
        const floats tail = lane < (int)(length - last) ? load(scores + last) : all(-INFINITE);
        floats largest = tail;
        for (size_t n = 0; n < last; n += LANES) largest = larger(largest, load(scores + n));
        const float top = combined(largest, larger);
        floats total = power_of_2(tail - top);
        store(scores + last, total);
        for (size_t n = 0; n < last; n += LANES) {
            const floats power = power_of_2(load(scores + n) - top);
            store(scores + n, power);
            total += power;
        }
        return sum(total);
    }

    template <int ROWS = QUERIES>
    void attend_all(size_t query, size_t n_queries, float *to, size_t stride) const {
        for (; query + ROWS <= n_queries; query += ROWS) attend<ROWS>(query, to + query * stride, stride);
        if constexpr (ROWS > 1) attend_all<ROWS - 1>(query, n_queries, to, stride);
    }
};

template <class Form>
void attend(size_t pairs, const int64_t *queries, const int64_t *tokens, size_t heads, size_t columns,
            const Product &query, const Product &key, const Product &value, float *scratch, const Operand &context) {
    const size_t width = heads * columns;
    for (size_t pair = 0; pair < pairs; pair++) {
        const size_t first = queries[pair], count = queries[pair + 1] - first;
        Head head(tokens[pair + 1] - tokens[pair], columns, scratch + count * width);
        for (size_t a = 0; a < heads; a++) {
            head.read<Form>(query, first, count, key, value, tokens[pair], a * columns);
            head.attend_all(0, count, scratch + a * columns, width);
        }
        for (size_t t = 0; t < count; t++) {
            Row<Form::QUANTIZED> row{scratch + t * width};
            for (size_t n = 0; n < width; n += LANES) row.put(n, load(row.values + n));
            row.write(first + t, width, context);
        }
    }
}

template <class Form>
void activate(size_t rows, size_t columns, const Product &product, const Gate gate, float *scratch, const Operand &to) {
    for (size_t t = 0; t < rows; t++) {
        Row<Form::QUANTIZED> row{scratch};
        for (size_t n = 0; n < columns; n += LANES) row.put(n, gated(product.at<Form>(t, n), gate));
        row.write(t, columns, to);
    }
}

template <class Form>
void add_and_normalize(size_t rows, size_t columns, const Product &product, const bf16 *residual, const float *weights,
                       const float *biases, float epsilon, float *scratch, const Operand &to) {
    for (size_t t = 0; t < rows; t++) {
        floats total = {}, squares = {};
        for (size_t n = 0; n < columns; n += LANES) {
            const floats x = product.at<Form>(t, n) + load(residual + t * columns + n);
            total += x;
            store(scratch + n, x);
        }
        const float mean = sum(total) / columns;
        for (size_t n = 0; n < columns; n += LANES) {
            const floats x = load(scratch + n) - mean;
            squares += x * x;
        }
        const float inverse = 1 / std::sqrt(sum(squares) / columns + epsilon);
        Row<Form::QUANTIZED> row{scratch};
        for (size_t n = 0; n < columns; n += LANES)
            row.put(n, (load(scratch + n) - mean) * inverse * load(weights + n) + load(biases + n));
        row.write(t, columns, to);
    }
}

template <bool QUANTIZED>
void copy(size_t rows, size_t columns, const bf16 *states, float *scratch, const Operand &to) {
    for (size_t t = 0; t < rows; t++) {
        Row<QUANTIZED> row{scratch};
        for (size_t n = 0; n < columns; n += LANES) row.put(n, load(states + t * columns + n));
        row.write(t, columns, to);
    }
}

// Call `function` with the form of the product of an operand like `to`.
template <class Function>
void with_form(const Product &product, const Operand &to, Function function) {
    if (!to.quantized) function(Bf16{});
    else if (product.state_bytes == sizeof(bf16)) function(Int8<bf16>{});
    else function(Int8<float>{});
}

}  // namespace

extern "C" {

// Floats of scratch memory for pairs of at most `longest` tokens. The other functions need one float per column.
size_t attention_scratch(size_t longest, size_t heads, size_t columns) {
    return longest * heads * columns + (2 * longest + QUERIES) * columns +
           (columns + QUERIES) * Head::padded_to_vectors(longest);
}

// Softmax attention of each pair over its own tokens. Pair p has tokens[p] to tokens[p + 1] of key and value, and
// queries[p] to queries[p + 1]. The context has the rows of `query`.
void albert_attend(size_t pairs, const int64_t *queries, const int64_t *tokens, size_t heads, size_t columns,
                   const Product *query, const Product *key, const Product *value, float *scratch,
                   const Operand *context) {
    with_form(*query, *context, [&](auto form) {
        attend<decltype(form)>(pairs, queries, tokens, heads, columns, *query, *key, *value, scratch, *context);
    });
}

// The gated product.
void albert_activate(size_t rows, size_t columns, const Product *product, const Gate *gate, float *scratch,
                     const Operand *to) {
    with_form(*product, *to, [&](auto form) {
        activate<decltype(form)>(rows, columns, *product, *gate, scratch, *to);
    });
}

// LayerNorm of the product plus the residual; `to` may be the residual.
void albert_add_and_normalize(size_t rows, size_t columns, const Product *product, const bf16 *residual,
                              const float *weights, const float *biases, float epsilon, float *scratch,
                              const Operand *to) {
    with_form(*product, *to, [&](auto form) {
        add_and_normalize<decltype(form)>(rows, columns, *product, residual, weights, biases, epsilon, scratch, *to);
    });
}

// bf16 rows as an operand.
void albert_copy(size_t rows, size_t columns, const bf16 *states, float *scratch, const Operand *to) {
    (to->quantized ? copy<true> : copy<false>)(rows, columns, states, scratch, *to);
}
}
