#include <stdio.h>

int main(void)
{
    puts("pushgate " PUSHGATE_VERSION);
    return 0;
}
