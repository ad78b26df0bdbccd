#!/bin/sh
# A node's TLS key and certificate, signed by the cluster's own CA, for Ray's traffic between nodes (RAY_USE_TLS=1).
#
#   node-cert.sh ca FOLDER               makes the CA: FOLDER/ca.crt and ca.key. Once; keep ca.key where only you can read it
#   node-cert.sh node CA OUT NAME...     makes OUT/tls.crt, tls.key and ca.crt for a node with these names or addresses
set -eu
umask 077
days=365

case "${1:-}" in
ca)
  mkdir -p "$2"
  openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days "$days" -subj "/CN=pd Ray CA" \
    -keyout "$2/ca.key" -out "$2/ca.crt" 2>/dev/null
  ;;
node)
  ca=$2 out=$3
  shift 3
  names="DNS:localhost,IP:127.0.0.1"
  for name in "$@"; do
    case "$name" in
    *:*) names="$names,IP:$name" ;;
    *[!0-9.]*) names="$names,DNS:$name" ;;
    *) names="$names,IP:$name" ;;
    esac
  done
  mkdir -p "$out"
  openssl req -new -newkey rsa:3072 -nodes -subj "/CN=ray" -keyout "$out/tls.key" -out "$out/node.csr" 2>/dev/null
  printf 'basicConstraints=CA:FALSE\nsubjectAltName=%s\n' "$names" >"$out/node.ext"
  openssl x509 -req -sha256 -days "$days" -in "$out/node.csr" -extfile "$out/node.ext" -out "$out/tls.crt" \
    -CA "$ca/ca.crt" -CAkey "$ca/ca.key" -set_serial "0x$(openssl rand -hex 16)" 2>/dev/null
  cp "$ca/ca.crt" "$out/ca.crt"
  rm "$out/node.csr" "$out/node.ext"
  ;;
*)
  echo "usage: node-cert.sh ca FOLDER | node CA OUT NAME..." >&2
  exit 2
  ;;
esac
