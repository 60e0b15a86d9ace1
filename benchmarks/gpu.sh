#!/bin/sh
# Everything that waits for a GPU, in some minutes on a bare machine with torch, timm and pytest:
# the tests marked gpu, the rates of benchmarks/gpu.py, which gets this script's arguments, and those
# of benchmarks/train.py.
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" -m pytest -q -m gpu tests/test_gpu.py tests/train/test_loop.py; tests=$?
"$PYTHON" benchmarks/gpu.py "$@" || exit 1
case " $* " in
  *" --tiny "*) "$PYTHON" benchmarks/train.py --tiny || exit 1 ;;
  *) "$PYTHON" benchmarks/train.py --device cuda || exit 1 ;;
esac
exit "$tests"
