#!/bin/sh
# Make the environment in $VENV: a Python >= 3.12 with the package and its $EXTRAS.
# Any python3 will do to start with; uv finds the newer one, or downloads it.
set -eu
: "${VENV:=.venv}" "${TOOLS:=.venv-tools}" "${EXTRAS:=plot,onnx,frames,browser,sweep,optimize,dev}"

fail() {
    echo "make: $1" >&2
    exit 1
}

# A command on PATH may be a stub of a version manager, so it counts only when it answers.
if uv --version >/dev/null 2>&1; then
    uv=uv
else
    uv="$TOOLS/bin/uv"
    if ! "$uv" --version >/dev/null 2>&1; then
        python3 -m venv "$TOOLS" >/dev/null 2>&1 ||
            fail "expected uv, or a python3 with venv, got neither; install uv (or python3-venv)"
        "$TOOLS/bin/python" -m pip install --quiet uv ||
            fail "expected 'pip install uv' to work, got an error; is there a package registry?"
    fi
fi

"$uv" venv --quiet --clear --python '>=3.12' "$VENV" ||
    fail "expected Python >= 3.12, got none and no download; install one, such as python3.12"
"$uv" pip install --quiet --python "$VENV/bin/python" -e ".[$EXTRAS]" ||
    fail "expected the packages of pyproject.toml to install, got an error; it is printed above"
