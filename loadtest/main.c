#include <stdio.h>

int main(void)
{
    puts("pushgate-load " PUSHGATE_VERSION);
    return 0;
}
