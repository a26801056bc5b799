/* Prints, from the reading `text` of the table, a C file with a function for the value and for each
 * gradient of every pointwise row, and a table of them (rows.h). */
#include <stdio.h>

#include "ops/pointwise.h"

static void write_function(const ag__pointwise *row, int k)
{
    printf("static double f%d_%d(double g, double a, double b, double c, double y, double p, "
           "double q)\n"
           "{ (void)g, (void)a, (void)b, (void)c, (void)y, (void)p, (void)q; return %s; }\n",
           row->index, k, row->text[k]);
}

static int texts_of(const ag__op *op) { return op->vjp ? 1 + op->n_in : 1; }

int main(void)
{
    printf("#include \"rows.h\"\n#include \"prelude.h\"\n\n");
    for (int i = 0; i < AG_OP_COUNT; i++)
        for (int k = 0; ag__ops[i]->pointwise && k < texts_of(ag__ops[i]); k++)
            write_function(ag__ops[i]->pointwise, k);
    printf("\nconst text_row text_rows[] = {\n");
    for (int i = 0; i < AG_OP_COUNT; i++) {
        printf("    { {");
        for (int k = 0; ag__ops[i]->pointwise && k < texts_of(ag__ops[i]); k++)
            printf(" f%d_%d,", i, k);
        printf(" 0 } },\n");
    }
    printf("};\n");
    return ferror(stdout) || fclose(stdout) != 0;
}
