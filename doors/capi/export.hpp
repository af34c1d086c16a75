// Marks what libmuster_posix.so exports; each such name stands in libmuster_posix.map as well.
#pragma once

#define MUSTER_EXPORT extern "C" __attribute__((visibility("default")))
