#!/usr/bin/env bash
# Prints the folder of a CQL server for tests, Apache Cassandra, whose jars lie in its `lib`, and
# installs it first where it is missing: into a cache outside the clone, by its version. Wants Maven
# and Java 17.
set -euo pipefail
version=5.0.5
cache=${STERNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sterna}
root=$cache/cassandra-$version
if [ ! -e "$root/whole" ]; then
    for program in mvn java; do
        command -v "$program" >/dev/null || {
            echo "$program is missing: install the packages maven and openjdk-17-jre-headless" >&2
            exit 1
        }
    done
    mkdir -p "$root"
    echo "installing Apache Cassandra $version once into $root" >&2
    # One at a time: several tests may ask at once.
    exec 9>"$root/lock"
    flock 9
    if [ ! -e "$root/whole" ]; then
        cat >"$root/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sterna</groupId><artifactId>cql-server</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId>
      <version>$version</version>
    </dependency>
  </dependencies>
</project>
POM
        mvn --quiet --batch-mode --file "$root/pom.xml" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$root/lib" >&2
        touch "$root/whole"
    fi
fi
echo "$root"
