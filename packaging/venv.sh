#!/bin/sh
# Make a virtual environment and install Rondo into it: `venv.sh FOLDER WHAT`. Works on a Debian with nothing but python3.
set -eu
folder=$1
what=$2
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Rondo needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2
    exit 1
}

if ! [ -x "$folder/bin/pip" ]; then
    # Debian keeps the venv module's other half in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "installing python$version-venv"
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
        else
            echo "Python's venv module is not here: install it (apt-get install python$version-venv)" >&2
            exit 1
        fi
    fi
    rm -rf "$folder"
    "$python" -m venv "$folder"
fi

echo "installing Rondo into $folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --editable "$what" || {
    echo "pip could not install what Rondo needs; is there a network, or a package index that pip can reach?" >&2
    exit 1
}
