#!/usr/bin/env bash
# fathom net: what it prints and writes, and what it refuses.
# Usage: net_command_test.sh PATH_TO_FATHOM
. "$(dirname "$0")/common.sh"

# has TEXT: `out` contains it, spaces apart.
has() {
  tr -s ' ' <out | grep -qF -- "$1" || fail "no '$1' in: $(head -c 2000 out)"
}

# --- ISCA Table 3 ---
ok "$fathom" net cost
has 'FT2 2048 96 2048 8.99 4.39'
has 'MPFT 16384 768 16384 71.93 4.39'
has 'FT3 65536 5120 131072 490.86 7.49'
has 'SF 32928 1568 32928 145.65 4.42'
has 'DF 261632 16352 384272 1540.19 5.89'
refuses 1 'the nearest are 62 and 64' "$fathom" net cost --topology fat-tree-2 --radix 63
refuses 1 'is no price' "$fathom" net cost --switch-port-usd -1
cat >prices.toml <<'EOT'
[switch.ndr-64]
ports = { value = 64, source = "a quotation" }
price_usd = { value = 64000, source = "a quotation" }
EOT
ok "$fathom" net cost --hardware prices.toml
has 'prices: 1000 $ a switch port, 1700 $ a cable between switches'
refuses 2 'changes no price' "$fathom" net cost --hardware prices.toml --switch-port-usd 7
refuses 2 '--planes does not influence' "$fathom" net cost --topology dragonfly --planes 2

# --- pictures ---
ok "$fathom" net show --topology slim-fly --radix 11 --svg fly.svg --explain
grep -q '^formula ' out || fail 'net show explains nothing'
grep -q '</svg>' fly.svg || fail "no picture"

# --- simulation ---
simulate=("$fathom" net simulate --collective all-to-all --topology multi-plane --planes 8
          --bytes 1GiB)
ok "${simulate[@]}" --nodes 16 --svg heat.svg --explain
has 'lower bound, by NIC out of node 0'
ok "${simulate[@]}" --nodes 16 --gpu h100
has 'assumed: node.nvlink_gb_s = 360: h100'
grep -q '</svg>' heat.svg || fail "no heat map"
ok "${simulate[@]}" --nodes 2048
has 'all-to-all 16384'
ok "${simulate[@]}" --sweep cluster.nodes=4,8
has 'nodes = 8 all-to-all 64'
refuses 1 'cluster.nodes is missing' "${simulate[@]}"
refuses 1 'does not influence' "${simulate[@]}" --nodes 4 --hash-seed 1
refuses 1 'cannot reach' "${simulate[@]}" --nodes 4 --fail plane:3 --pxn false
refuses 1 'they are 0 to 7' "${simulate[@]}" --nodes 4 --fail plane:8

refuses 1 "--gpu = h80: unknown hardware 'h80'; hint: the nearest is 'h800'" \
  "${simulate[@]}" --nodes 4 --gpu h80
printf '[node]\nnic = "connectx7"\n' >unknown.toml
refuses 1 "unknown.toml: node.nic = connectx7: unknown nic 'connectx7'; hint: the nearest is" \
  "${simulate[@]}" unknown.toml --nodes 4

report
