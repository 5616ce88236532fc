#!/bin/sh
# Installs the Debian packages named as arguments that are missing; when none is, this takes a few milliseconds.
# Services among them (redis-server, prometheus, nginx and the like) are neither started nor enabled.
set -eu

missing=
for package in "$@"; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root() { "$@"; }
elif command -v sudo >/dev/null; then
    as_root() { sudo "$@"; }
else
    echo "These packages are missing:$missing. Install them, or run this as root or with sudo at hand." >&2
    exit 1
fi

echo "Installing:$missing" >&2
policy=/usr/sbin/policy-rc.d # asked by every package before it starts a service
if [ ! -e $policy ]; then
    trap 'as_root rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
fi
as_root apt-get update -qq >&2
# shellcheck disable=SC2086 # one word per package
as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing >&2

if [ -d /run/systemd/system ]; then
    for package in $missing; do
        case $package in
        redis-server | prometheus | nginx | haproxy | mosquitto | nats-server) as_root systemctl disable --now "$package" >&2 || true ;;
        esac
    done
fi
