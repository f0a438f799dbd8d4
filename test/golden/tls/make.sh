#!/bin/sh
# Makes the certificates of the tests anew, in this folder: sh make.sh. They are valid from 2020 to 2119, so that no test depends on the day; `expired` is not.
# The authorities' keys are thrown away: whoever needs one more certificate makes all of them anew.
# cert.pem and key.pem are older and were made by one command:
#   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost \
#     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/index"
cat > "$work/conf" <<'CONF'
[ca]
default_ca = tests
[tests]
database = $ENV::work/index
new_certs_dir = $ENV::work
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
preserve = yes
[any]
countryName = optional
organizationName = optional
commonName = optional
[req]
distinguished_name = name
string_mask = utf8only
[name]
CONF
export work

# make NAME SUBJECT EXTENSIONS [AUTHORITY [END]]: NAME.cert.pem and NAME.key.pem
make() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$1.key.pem"
  openssl req -config "$work/conf" -new -key "$1.key.pem" -subj "$2" -out "$work/$1.csr"
  printf '%b' "$3" > "$work/extensions"
  if [ -n "${4:-}" ]; then by="-cert $4.cert.pem -keyfile $4.key.pem"; else by="-selfsign -keyfile $1.key.pem"; fi
  # shellcheck disable=SC2086
  openssl ca -config "$work/conf" -batch -notext $by -in "$work/$1.csr" -extfile "$work/extensions" \
    -startdate 20200101000000Z -enddate "${5:-21191231000000Z}" -out "$1.cert.pem"
}

localhost='subjectAltName=DNS:localhost,IP:127.0.0.1\n'
make renewed /CN=localhost "$localhost"
make expired /CN=localhost "$localhost" "" 20210101000000Z
make app /CN=app.example 'subjectAltName=DNS:app.example\n'
make wild /CN=wild.example 'subjectAltName=DNS:*.wild.example\n'

authority='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n'
client='extendedKeyUsage=clientAuth\n'
make ca '/O=Example/CN=Client CA' "$authority"
make other '/CN=Other CA' "$authority"
make alice '/C=DE/O=Example, Inc./CN=alice' "$client" ca
make bob '/C=DE/O=Example, Inc./CN=bob' "$client" ca
make nameless / "${client}subjectAltName=critical,URI:spiffe://example/billing\n" ca
make mallory '/C=DE/O=Example, Inc./CN=alice' "$client" other
rm ca.key.pem other.key.pem
