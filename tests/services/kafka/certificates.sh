#!/usr/bin/env bash
# certificates.sh DIR: what a TLS listener of a test broker needs, made with keytool alone (it comes with Java).
#
#   broker.p12    the broker's key, signed by the test authority, for localhost and 127.0.0.1
#   trust.p12     the broker's trust store
#   ca.pem        the authority's certificate, for clients
#   other-ca.pem  another authority's, which did not sign: for tests of a refused certificate
set -euo pipefail
mkdir -p "$1"
cd "$1"

store=(-storetype PKCS12 -storepass changeit -keypass changeit -noprompt)
key=(-keyalg EC -groupname secp256r1 -validity 3650)

authority() { # NAME
    keytool -genkeypair -alias ca -dname "CN=lagline-test-$1" "${key[@]}" \
        -ext bc:c=ca:true -ext ku=keyCertSign,cRLSign -keystore "$1.p12" "${store[@]}"
    keytool -exportcert -rfc -alias ca -keystore "$1.p12" "${store[@]}" >"$1.pem"
}

authority ca
authority other-ca

keytool -genkeypair -alias broker -dname "CN=localhost" "${key[@]}" -keystore broker.p12 "${store[@]}"
keytool -certreq -alias broker -keystore broker.p12 "${store[@]}" >broker.csr
keytool -gencert -rfc -alias ca -keystore ca.p12 "${store[@]}" -infile broker.csr -validity 3650 \
    -ext san=dns:localhost,ip:127.0.0.1 -ext eku=serverAuth,clientAuth >broker.pem
keytool -importcert -alias ca -file ca.pem -keystore broker.p12 "${store[@]}"
keytool -importcert -alias broker -file broker.pem -keystore broker.p12 "${store[@]}"
keytool -importcert -alias ca -file ca.pem -keystore trust.p12 "${store[@]}"
rm -f broker.csr broker.pem
