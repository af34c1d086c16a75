// Every operation of semaphore sets, in each state, killed (SIGKILL) after each of its instructions: what the table of
// operations says must hold then, holds.
#include "every_instruction_cases.hpp"

MUSTER_EVERY_INSTRUCTION_OF(Sem, "sem")
