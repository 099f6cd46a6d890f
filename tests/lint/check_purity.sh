#!/bin/sh
# The pure objects import nothing impure: no clock, no I/O, no randomness, no thread. Argument: build directory.
# Engines may use memory functions, calloc and free (in _new and _free), and other pure code.
set -u
B=${1:-build}
bad=0
common='mem(cpy|move|set|cmp|chr)|strlen|strcmp|strnlen|__mem[a-z]*_chk|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__snprintf_chk|snprintf|__ubsan.*|__asan.*'

check() { # OBJECT ALLOWED
    [ -f "$1" ] || { echo "$1: not built"; bad=1; return; }
    foreign=$(nm -u "$1" | awk '{print $2}' | grep -vE "^($common|$2)$")
    if [ -n "$foreign" ]; then
        echo "$1 imports:" $foreign
        bad=1
    fi
}

engine='replica held apply fetch pace share width repair liveness'
# What the parts of the engine define for each other is theirs.
own=$(for o in $engine; do nm --defined-only "$B/edge/$o.o"; done | awk '$2 == "T" {printf "%s|", $3}')
for o in $engine; do
    check "$B/edge/$o.o" "${own}hf_[a-z0-9_]*|calloc|free"
done
check "$B/core/publisher.o" 'hf_[a-z0-9_]*|calloc|free'
for o in "$B"/proto/wire/*.o; do
    case $o in
    */err.o) check "$o" 'abort|stderr|__?f?printf(_chk)?|__fprintf_chk|__vsnprintf_chk|vsnprintf|fflush' ;;
    # What the processor has chooses between two ways to the same bytes.
    */expand.o | */elements.o) check "$o" 'hf_[a-z0-9_]*|crypto_[a-z0-9_]*|__cpu_model' ;;
    *) check "$o" 'hf_[a-z0-9_]*|crypto_[a-z0-9_]*|sodium_[a-z0-9_]*|ZSTD_[A-Za-z0-9_]*|msgpack_[a-z0-9_]*|free|strchr|strncmp' ;;
    esac
done
exit $bad
