#!/usr/bin/env bash
# Fetches the real servers that the tests run against, from Maven Central and Debian's packages.
#
#   tests/services/fetch.sh ITEM...     prints one directory a line, in the order asked
#   tests/services/fetch.sh all         everything (fills the cache before a test run)
#
# Items: kafka-VERSION, certificates, opensearch-2.19.1, elasticsearch-8.17.0, and Debian's influxdb,
# victoria-metrics, prometheus and burrow.
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

all=(kafka-3.9.2 kafka-4.4.0 certificates opensearch-2.19.1 elasticsearch-8.17.0
    influxdb victoria-metrics prometheus burrow)

fail() {
    echo "fetch.sh: $*" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "\`$tool\` is missing; \`.ci/prepare test\` installs what the tests need"
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
    cat "$@" | sha256sum | cut -c1-8
}

# jars POM DIR [PROPERTY]: copies what a pom names, and what that needs, from Maven Central.
jars() {
    mvn -q -B -f "$here/$1" ${3:+"$3"} dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$2"
}

make_kafka() { # DIR VERSION
    need java javac mvn
    quietly "download Kafka $2 from Maven Central" jars kafka/pom.xml "$1/libs" -Dkafka.version="$2"
    quietly "compile KafkaAdmin.java" \
        javac -cp "$1/libs/*" -d "$1/classes" "$here/kafka/KafkaAdmin.java"
}

make_opensearch() { # DIR
    need java javac mvn
    quietly "download OpenSearch from Maven Central" jars opensearch/pom.xml "$1/libs"
    quietly "compile OpenSearchNode.java" \
        javac -cp "$1/libs/*" -d "$1/classes" "$here/opensearch/OpenSearchNode.java"
}

make_elasticsearch() { # DIR
    need java javac jar mvn
    local es=$here/elasticsearch modules=$1/home/modules name
    quietly "download Elasticsearch from Maven Central" jars elasticsearch/pom.xml "$1/home/lib"
    quietly "download Elasticsearch's transport from Maven Central" \
        jars elasticsearch/transport-pom.xml "$modules/transport-netty4"
    # A module brings only what the server does not have: a doubled jar is refused at the start.
    for name in "$modules"/transport-netty4/*.jar; do
        [ ! -e "$1/home/lib/$(basename "$name")" ] || rm "$name"
    done
    quietly "compile ElasticsearchNode.java" \
        javac -nowarn -cp "$1/home/lib/*" -d "$1/classes" "$es/ElasticsearchNode.java"
    quietly "compile MissingModules.java" \
        javac -nowarn -cp "$1/home/lib/*" -d "$1/missing" "$es/MissingModules.java"
    mkdir -p "$1/home/config" "$1/home/plugins" "$modules/missing-modules"
    jar cf "$modules/missing-modules/missing-modules.jar" -C "$1/missing" .
    elasticsearch_module "$modules/transport-netty4" org.elasticsearch.transport.netty4.Netty4Plugin
    elasticsearch_module "$modules/missing-modules" MissingModules
}

elasticsearch_module() { # DIR CLASS
    cat >"$1/plugin-descriptor.properties" <<EOF
name=$(basename "$1")
classname=$2
description=part of the test server
version=8.17.0
elasticsearch.version=8.17.0
java.version=17
has.native.controller=false
licensed=false
EOF
}

# The package is unpacked, not installed: no service starts, no user is made.
make_debian() { # DIR PACKAGE
    need apt-get dpkg
    cd "$1"
    # Lists that are missing or old name nothing that can be downloaded.
    if ! apt-get download "$2" >/dev/null 2>&1; then
        quietly "update Debian's package lists" apt-get update
        quietly "download Debian's package $2" apt-get download "$2"
    fi
    cd - >/dev/null
    dpkg -x "$1"/*.deb "$1"
    rm "$1"/*.deb
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
        make=make_kafka argument=${name#kafka-} hash=$(recipe "$here"/kafka/{pom.xml,KafkaAdmin.java}) ;;
    certificates)
        make=make_certificates hash=$(recipe "$here"/kafka/certificates.sh) ;;
    opensearch-2.19.1)
        make=make_opensearch hash=$(recipe "$here"/opensearch/*) ;;
    elasticsearch-8.17.0)
        make=make_elasticsearch hash=$(recipe "$here"/elasticsearch/*) ;;
    influxdb | victoria-metrics | prometheus | burrow)
        make=make_debian argument=$name hash=debian ;;
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
