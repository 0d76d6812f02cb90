#!/bin/sh
# cargo's RUSTC_WRAPPER for the fuzz targets: tells rustc what cargo-fuzz does without a sanitizer, but for
# our parsers alone. The branches of the engine, which comes along, would only slow the fuzzer down, and a
# crate that macros use, too, cannot be loaded without it.
rustc=$1
shift
case " $* " in
*" --crate-name dormouse_gateway "* | *" --crate-name a2a "*)
    set -- "$@" --cfg fuzzing -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
