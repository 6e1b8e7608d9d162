#!/usr/bin/env bash
# Fetches the real servers that the tests run against, from Maven Central and Debian's packages.
#
#   tests/services/fetch.sh ITEM...     prints one directory a line, in the order asked
#   tests/services/fetch.sh all         everything (fills the cache before a test run)
#
# Items: kafka-VERSION, certificates.
#
# The cache is $LAGLINE_SERVICES, by default target/services. A directory's name ends in a hash of its
# recipe (the files it is made from), so a changed recipe is fetched anew and an old checkout still finds its
# own. A directory is complete when it is there: it is made under another name and moved into place. One lock
# lets parallel callers wait for each other instead of fetching twice.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LAGLINE_SERVICES:-$here/../../target/services}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

all=(kafka-3.9.2 kafka-4.4.0 certificates)

fail() {
    echo "fetch.sh: $*" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "\`$tool\` is missing; \`make prepare\` installs what the tests need"
    done
}

# quietly WHAT COMMAND...: shows the command's output only when it fails.
quietly() {
    local what=$1 log
    shift
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        fail "cannot $what"
    fi
    rm -f "$log"
}

# recipe FILE...: a short hash over the files that an item is made from.
recipe() {
    (cd "$here" && cat "$@") | sha256sum | cut -c1-8
}

make_kafka() { # DIR VERSION
    need java mvn
    quietly "download Kafka $2 from Maven Central" \
        mvn -q -B -f "$here/kafka/pom.xml" -Dkafka.version="$2" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1/libs"
}

make_certificates() { # DIR
    need keytool
    quietly "make the certificates" bash "$here/kafka/certificates.sh" "$1"
}

# item NAME: fetches the item unless it is there, and prints its directory.
item() {
    local name=$1 make argument="" hash dir tmp
    case $name in
    kafka-*)
        make=make_kafka argument=${name#kafka-} hash=$(recipe kafka/pom.xml) ;;
    certificates)
        make=make_certificates hash=$(recipe kafka/certificates.sh) ;;
    *)
        fail "unknown item \`$name\`; known: ${all[*]}" ;;
    esac
    dir=$cache/$name-$hash
    if [ ! -d "$dir" ]; then
        exec 9>"$cache/.lock"
        flock 9
        if [ ! -d "$dir" ]; then # nobody else made it while this one waited
            tmp=$(mktemp -d "$cache/.making-$name.XXXXXX")
            "$make" "$tmp" "$argument" >&2
            mv -T "$tmp" "$dir"
        fi
        exec 9>&-
    fi
    echo "$dir"
}

[ $# -gt 0 ] || fail "say what to fetch: all, or some of ${all[*]}"
need flock sha256sum
[ "$1" != all ] || set -- "${all[@]}"
for name in "$@"; do
    item "$name"
done
