#!/bin/sh
# Puts the units and the default configuration of assetstored in place, or takes them away.
#
#   systemd/install.sh [install | uninstall]
#
# Settings, from the environment:
#   BINDIR   where assetstored and assetstore are installed     /opt/assetstore/bin
#   PREFIX   units go to PREFIX/lib/systemd/system              /usr/local
#   DESTDIR  put everything below this directory (packaging)    none
#
# It may be run again at any time: units are replaced, a configuration that is there is kept.
# It starts, stops and enables nothing; it prints the commands that do.

set -eu
# What is installed is for everybody to read, whatever root's umask.
umask 022

BINDIR=${BINDIR:-/opt/assetstore/bin}
PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}

source=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
units=$DESTDIR$PREFIX/lib/systemd/system
sysusers=$DESTDIR$PREFIX/lib/sysusers.d
tmpfiles=$DESTDIR$PREFIX/lib/tmpfiles.d
# The defaults of this version, to compare an edited configuration with, and for uninstall to
# tell an edited one from one that is as it came.
defaults=$DESTDIR$PREFIX/share/assetstore
config=$DESTDIR/etc/assetstore
# Those that can be enabled, and all.
enabled_units='assetstored.socket assetstored-readonly.socket assetstored.service assetstore-backup.timer'
all_units="$enabled_units assetstore-backup.service"

fail() {
    echo "install.sh: $*" >&2
    exit 2
}

for dir in "$BINDIR" "$PREFIX"; do
    case $dir in
    /*) ;;
    *) fail "BINDIR and PREFIX must be absolute: $dir" ;;
    esac
    # systemd would split the line at a blank, and expand a %; sed would trip over the others.
    case $dir in
    *[!A-Za-z0-9/._+-]*) fail "a path in a unit may have letters, digits and /._+- only: $dir" ;;
    esac
done

do_install() {
    mkdir -p "$units" "$sysusers" "$tmpfiles" "$defaults" "$config"

    for unit in $all_units; do
        sed "s|^\(Exec[A-Za-z]*=\)/opt/assetstore/bin/|\1$BINDIR/|" "$source/$unit" >"$units/$unit"
        chmod 0644 "$units/$unit"
    done
    cp "$source/sysusers.d/assetstore.conf" "$sysusers/"
    cp "$source/tmpfiles.d/assetstore.conf" "$tmpfiles/"
    chmod 0644 "$sysusers/assetstore.conf" "$tmpfiles/assetstore.conf"

    chmod 0755 "$defaults" "$config"
    for file in assetstored.toml manifest.json; do
        cp "$source/$file" "$defaults/"
        chmod 0644 "$defaults/$file"
        if [ -e "$config/$file" ] || [ -L "$config/$file" ]; then
            echo "kept       $config/$file"
        else
            cp "$source/$file" "$config/"
            chmod 0644 "$config/$file"
            echo "installed  $config/$file"
        fi
    done
    for unit in $all_units; do
        echo "installed  $units/$unit"
    done
    echo "installed  $sysusers/assetstore.conf"
    echo "installed  $tmpfiles/assetstore.conf"

    warn_where_the_service_would_not_start
    cat <<EOF

Next, as root:
  systemd-sysusers assetstore.conf
  systemd-tmpfiles --create assetstore.conf
  systemctl daemon-reload
  systemctl enable --now assetstored.socket     # the first client starts the daemon
  usermod -aG assetstore-clients NAME           # for each user that may connect
  $BINDIR/assetstore status
  systemctl enable --now assetstore-backup.timer  # a backup every night
After an upgrade: systemctl daemon-reload && systemctl restart assetstored
EOF
}

# A package is built where the program is not, so these are warnings, and none with DESTDIR.
warn_where_the_service_would_not_start() {
    [ -z "$DESTDIR" ] || return 0
    if ! [ -x "$BINDIR/assetstored" ] || ! [ -x "$BINDIR/assetstore" ]; then
        cat >&2 <<EOF

There is no program in $BINDIR yet. To put it there, from the top of the source:
  python3 -m venv ${BINDIR%/bin}
  ${BINDIR%/bin}/bin/pip install '.[daemon,cli]'
EOF
        return 0
    fi
    # The interpreter counts, not the link to it in the venv.
    interpreter=$(readlink -f "$BINDIR/python3" 2>/dev/null) || interpreter=
    for path in "$BINDIR" "$interpreter"; do
        case $path in
        /home/* | /root/* | /run/user/*)
            cat >&2 <<EOF

warning: the service cannot see $path: its user may not read it, and the sandbox
hides /home and /root (ProtectHome=). Make the venv with an interpreter below /usr or /opt.
EOF
            ;;
        esac
    done
}

do_uninstall() {
    # While the unit files are there: without them systemd cannot tell what enabling linked.
    if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
        for unit in $enabled_units; do
            if systemctl --quiet is-active "$unit" || systemctl --quiet is-enabled "$unit" 2>/dev/null; then
                fail "first: systemctl disable --now $enabled_units"
            fi
        done
    fi
    for file in assetstored.toml manifest.json; do
        if cmp -s "$defaults/$file" "$config/$file"; then
            rm -f "$config/$file"
        elif [ -e "$config/$file" ]; then
            echo "kept       $config/$file"
        fi
        rm -f "$defaults/$file"
    done
    for unit in $all_units; do
        rm -f "$units/$unit"
    done
    rm -f "$sysusers/assetstore.conf" "$tmpfiles/assetstore.conf"
    for dir in "$defaults" "$config"; do
        rmdir "$dir" 2>/dev/null || :
    done
    cat <<EOF
removed    units, sysusers.d, tmpfiles.d and the configuration that nobody edited

The data in /var/lib/assetstore, its backups, the users and the program in $BINDIR are left.
Next, as root: systemctl daemon-reload
EOF
}

case ${1:-install} in
install) do_install ;;
uninstall) do_uninstall ;;
*) fail "usage: systemd/install.sh [install | uninstall]" ;;
esac
