#include "kernels/checks.h"
