// conformance_mq: runs one named case, or lists them. See README.md.
#include "case.hpp"

int main(int argc, char** argv) {
    return run_conformance(argc, argv);
}
