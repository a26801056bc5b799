/*
 * A plane of elements of type T, copied to another order by tiles whose lines stay in the cache:
 * to[i * ti + j * tj] = from[i + j * fj]. The includer defines T and PLANE, the function's name.
 */
static void PLANE(const T *from, int64_t fj, T *to, int64_t ti, int64_t tj, int64_t rows,
                  int64_t columns)
{
    enum { SIDE = 16 };
    for (int64_t i0 = 0; i0 < rows; i0 += SIDE)
        for (int64_t j0 = 0; j0 < columns; j0 += SIDE) {
            const int64_t i1 = i0 + SIDE < rows ? i0 + SIDE : rows;
            const int64_t j1 = j0 + SIDE < columns ? j0 + SIDE : columns;
            for (int64_t i = i0; i < i1; i++)
                for (int64_t j = j0; j < j1; j++)
                    to[i * ti + j * tj] = from[i + j * fj];
        }
}
#undef T
#undef PLANE
