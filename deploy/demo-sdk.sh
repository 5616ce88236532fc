#!/bin/sh
# Fetches what the demo page's chat runs on, dist/centrifuge.js of the npm package centrifuge, to build/demo, from where the
# build takes it into the gateway. Version and checksum are those of tests/package-lock.json. The registry is the one that npm
# is configured for; where there is no npm, curl asks the one that NPM_CONFIG_REGISTRY or a .npmrc names.
# With --once, a version that could not be had before is not asked for again.
set -eu
cd "$(dirname "$0")/.."

name=centrifuge folder=build/demo

# locked KEY: its value in the lock file's entry of the package.
locked() {
    awk -v entry="\"node_modules/$name\": {" -v key="\"$1\":" \
        'index($0, entry) { inside = 1 } inside && $1 == key { gsub(/[",]/, "", $2); print $2; exit }' tests/package-lock.json
}
version=$(locked version) integrity=$(locked integrity)
case $integrity in
sha512-?*) ;;
*) echo "tests/package-lock.json has no checksum of the npm package $name." >&2 && exit 1 ;;
esac

state=$folder/state # the last attempt: its outcome and checksum
last=$(cat $state 2>/dev/null || true)
[ "$last" != "got $integrity" ] || [ ! -s $folder/$name.js ] || exit 0
[ "$last" != "missed $integrity" ] || [ "${1:-}" != --once ] || exit 0

mkdir -p $folder
work=$(mktemp -d $folder/fetch.XXXXXX)
trap 'rm -rf "$work"' EXIT

give_up() {
    echo "missed $integrity" >$state
    echo "$1" >&2
    echo "The demo page comes without its chat. To try again: deploy/demo-sdk.sh, and start again." >&2
    exit 1
}

# A registry= line, of the first file that has one.
registry_of_npmrc() {
    for file in .npmrc "${NPM_CONFIG_USERCONFIG:-${HOME:-}/.npmrc}" "${NPM_CONFIG_GLOBALCONFIG:-/etc/npmrc}" /usr/etc/npmrc; do
        [ -r "$file" ] || continue
        found=$(sed -n 's/^[[:space:]]*registry[[:space:]]*=[[:space:]]*"\{0,1\}\([^"[:space:]]*\).*/\1/p' "$file" | tail -n 1)
        [ -z "$found" ] || break
    done
    echo "${found:-}"
}

if command -v npm >/dev/null 2>&1; then
    npm pack "$name@$version" --pack-destination "$work" --ignore-scripts --fetch-retries=0 --fetch-timeout=20000 >"$work/log" 2>&1 ||
        give_up "npm could not get $name $version: $(grep -E '^npm (error|ERR!)' "$work/log" | grep -m 1 -vE ' (code|errno|syscall) ')"
else
    # shellcheck disable=SC2154 # npm reads this variable in either case
    registry=${NPM_CONFIG_REGISTRY:-${npm_config_registry:-$(registry_of_npmrc)}}
    registry=${registry:-https://registry.npmjs.org}
    curl -sSfL --connect-timeout 5 --max-time 60 -o "$work/$name-$version.tgz" "${registry%/}/$name/-/$name-$version.tgz" 2>"$work/log" ||
        give_up "curl could not get $name $version from $registry: $(cat "$work/log")"
fi

archive=$work/$name-$version.tgz
[ "sha512-$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)" = "$integrity" ] ||
    give_up "$name $version from the registry is not what tests/package-lock.json names: its checksum differs. It is not used."

tar -xzf "$archive" -C "$work" package/LICENSE package/dist/$name.js
{ # its licence wants to go along
    echo "/*! $name $version"
    cat "$work/package/LICENSE"
    echo "*/"
    grep -v '^//# sourceMappingURL=' "$work/package/dist/$name.js"
} >"$work/$name.js"
mv "$work/$name.js" $folder/$name.js
echo "got $integrity" >$state
