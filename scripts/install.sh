#!/bin/sh
# Installs what Tanist needs on Debian (12 or newer) and its relatives.
#
#   scripts/install.sh demo   what the demo needs: a redis-server to supervise
#   scripts/install.sh test   what the tests need too: valkey, etcd, network namespaces, clients
#   scripts/install.sh bench  what the demo needs, and the proxies that ours is measured beside
#
# Says what it will do before it does it. With nothing to do it needs no root and no network.
# It starts no service and leaves none enabled: Tanist runs its own engines, and a second
# redis-server on the standard port would only be in the way. Services that were there before are
# not touched.
#
# Exit codes: 0 everything is there; 1 an installation failed; 2 this machine lacks something that
# the script cannot install (it says what).
#
# For tests of this script: OS_RELEASE, APT_SOURCES (a directory with sources.list and
# sources.list.d), POLICY_RC_D and SYSTEMD_UNITS replace the machine's own.
set -eu

OS_RELEASE=${OS_RELEASE:-/etc/os-release}
APT_SOURCES=${APT_SOURCES:-/etc/apt}
POLICY_RC_D=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
SYSTEMD_UNITS=${SYSTEMD_UNITS:-/etc/systemd/system}
MARK="written by Tanist's scripts/install.sh"

# Debian keeps nft and tc in directories that only root has in its PATH. Last, so that they hide
# nothing.
PATH=$PATH:/usr/sbin:/sbin
export PATH
cd "$(dirname "$0")/.."

say() { printf 'install.sh: %s\n' "$*"; }
warn() { printf 'install.sh: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

cannot() {
    warn "$*"
    exit 2
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# --- what is missing -----------------------------------------------------------------------------

packages=""
reasons=""

# need COMMAND PACKAGE REASON: a command that is there is enough, whoever installed it.
need() {
    if ! has "$1"; then
        packages="$packages $2"
        reasons="$reasons
    $2: $3"
    fi
}

find_missing() {
    need cc "gcc libc6-dev" "links Rust programs and compiles the embedded SQLite"
    need redis-server redis-server "the engine that Tanist supervises"
    if [ "$1" = bench ]; then
        need redis-benchmark redis-tools "sends the load"
        need haproxy haproxy "a proxy that ours is measured beside"
        need nutcracker nutcracker "another one"
        return
    fi
    if [ "$1" = demo ]; then return; fi
    need valkey-server valkey-server "the other engine that Tanist supervises"
    need etcd etcd-server "the store of a control plane of several machines"
    need nft nftables "cuts networks in the tests"
    need ip iproute2 "makes the network namespaces of the tests"
    need keepalived keepalived "moves an address between hosts in the tests"
    need haproxy haproxy "a load balancer in front of hosts in the tests"
    # Version 2 beside version 1, which the clients of tests/requirements.txt bring along.
    if [ ! -x /usr/bin/aws ]; then
        packages="$packages awscli"
        reasons="$reasons
    awscli: one of the clients that the tests drive Tanist with"
    fi
    if ! venv_is_ready && ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
        packages="$packages python3-venv"
        reasons="$reasons
    python3-venv: holds the clients of tests/requirements.txt"
    fi
}

# --- the apt side --------------------------------------------------------------------------------

# Called before anything is changed.
check_apt() {
    has apt-get || cannot "missing:$packages; there is no apt-get here, install them your way"
    id=$(os_release ID)
    case "$id $(os_release ID_LIKE)" in
    *debian*) ;;
    *) cannot "missing:$packages; ${id:-this system} is not Debian, install them your way" ;;
    esac
    if [ "$id" = debian ] && [ "$(os_release VERSION_ID)" -lt 12 ] 2>/dev/null; then
        cannot "missing:$packages; Debian before 12 does not have them, install them your way"
    fi
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then
        cannot "missing:$packages; run this as root, or install them your way (no sudo here)"
    fi
}

# os_release KEY: the value, without its quotes.
os_release() {
    [ -r "$OS_RELEASE" ] || return 0
    sed -n "s/^$1=//p" "$OS_RELEASE" | tr -d "\"'" | head -n 1
}

has_candidate() {
    LC_ALL=C apt-cache policy "$1" | grep 'Candidate:' | grep -qv '(none)'
}

# The source for backports, made from the source that this machine already has for its release:
# the same mirror, the same key. Reads the two formats of apt; prints nothing if there is none.
backports_source() {
    # One file after the other, with an empty line between: a stanza must not run on.
    for file in "$APT_SOURCES"/sources.list "$APT_SOURCES"/sources.list.d/*.list \
        "$APT_SOURCES"/sources.list.d/*.sources; do
        if [ -r "$file" ]; then
            printf '#file %s\n' "${file##*.}"
            cat "$file"
            printf '\n\n'
        fi
    done | awk -v release="$1" '
        function has(list, word,   n, parts, i) {
            n = split(list, parts, /[ \t]+/)
            for (i = 1; i <= n; i++) if (parts[i] == word) return 1
            return 0
        }
        function found(uris, signed) {
            print "Types: deb\nURIs: " uris "\nSuites: " release "-backports\nComponents: main"
            if (signed != "") print "Signed-By:" signed
            done = 1
            exit
        }
        function end_stanza(   key) {
            if (has(field["types"], "deb") && has(field["suites"], release) \
                && has(field["components"], "main") && tolower(field["enabled"]) !~ /^ *no/) {
                sub(/^ +/, "", field["uris"])
                found(field["uris"], field["signed-by"])
            }
            for (key in field) delete field[key]
            name = ""
        }
        /^#file / { end_stanza(); deb822 = ($2 == "sources"); next }
        /^[ \t]*#/ { next }
        deb822 && /^[ \t]*$/ { end_stanza(); next }
        deb822 && /^[ \t]/ { field[name] = field[name] "\n" $0; next }
        deb822 {
            name = tolower(substr($0, 1, index($0, ":") - 1))
            field[name] = substr($0, index($0, ":") + 1)
            next
        }
        $1 == "deb" {
            sub(/^[ \t]*deb[ \t]+/, "")
            signed = ""
            if (match($0, /^\[[^]]*\][ \t]*/)) {
                n = split(substr($0, 2, index($0, "]") - 2), options, /[ \t]+/)
                for (i = 1; i <= n; i++)
                    if (sub(/^signed-by=/, "", options[i])) {
                        signed = " " options[i]
                        gsub(/,/, " ", signed)
                    }
                $0 = substr($0, RLENGTH + 1)
            }
            if ($2 == release && has($0, "main")) found($1, signed)
        }
        END { if (!done) end_stanza() }'
}

add_backports() {
    codename=$(os_release VERSION_CODENAME)
    target=$APT_SOURCES/sources.list.d/tanist-backports.sources
    if [ "$(os_release ID)" != debian ] || [ -z "$codename" ] || [ -e "$target" ]; then return; fi
    source=$(backports_source "$codename")
    [ -n "$source" ] || return 0
    say "adds $target ($codename-backports): $codename itself has no valkey-server"
    printf '# %s, for valkey-server.\n%s\n' "$MARK" "$source" | as_root tee "$target" >/dev/null
    if ! as_root apt-get update -q; then
        as_root rm -f "$target"
        cannot "missing: valkey-server; $codename-backports cannot be read from this machine's mirror"
    fi
}

enabled_units() {
    find "$SYSTEMD_UNITS" -type l \( -path '*.wants/*' -o -path '*.requires/*' \) 2>/dev/null | sort
}

policy_is_ours=""
before=""

# Debian's packages start their services when they are installed, unless this file says no.
forbid_starts() {
    if [ -e "$POLICY_RC_D" ] && ! grep -q "$MARK" "$POLICY_RC_D"; then return; fi
    policy_is_ours=yes
    printf '#!/bin/sh\n# %s; removed when it ends.\nexit 101\n' "$MARK" |
        as_root tee "$POLICY_RC_D" >/dev/null
    as_root chmod 755 "$POLICY_RC_D"
}

# Whatever became enabled during the installation; the dependencies of a package included.
disable_new_units() {
    after=$(mktemp)
    enabled_units >"$after"
    comm -13 "$before" "$after" >"$after.new"
    while read -r link; do
        say "disables ${link##*/}, which the installation enabled"
        disable "$link" >/dev/null 2>&1 </dev/null || true
    done <"$after.new"
    rm -f "$after" "$after.new"
}

disable() {
    unit=${1##*/}
    if has systemctl; then
        # --now needs a running systemd; without one nothing can have been started.
        as_root systemctl disable --now "$unit" || as_root systemctl disable "$unit"
    else
        # Debian enables units on machines without systemd, too: in case it comes later.
        as_root rm -f "$1"
        as_root update-rc.d "${unit%.service}" disable
    fi
}

# Also after an interrupt: what was begun must not stay enabled.
clean_up() {
    if [ -n "$before" ]; then
        disable_new_units
        rm -f "$before"
        before=""
    fi
    if [ -n "$policy_is_ours" ]; then
        as_root rm -f "$POLICY_RC_D"
        policy_is_ours=""
    fi
}

install_packages() {
    say "installs with apt, because this machine does not have them:$reasons"
    as_root apt-get update -q || { warn "apt-get update failed"; exit 1; }
    case " $packages " in
    *" valkey-server "*) has_candidate valkey-server || add_backports ;;
    esac
    absent=""
    for package in $packages; do
        has_candidate "$package" || absent="$absent $package"
    done
    if [ -n "$absent" ]; then
        cannot "missing:$absent; this machine's package sources do not have them"
    fi
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    before=$(mktemp)
    enabled_units >"$before"
    forbid_starts
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        $packages || { warn "apt-get install failed:$packages"; exit 1; }
    clean_up
}

# --- the Python side -----------------------------------------------------------------------------

# The stamp is written last: an interrupted installation is done again.
venv_is_ready() { cmp -s tests/requirements.txt .venv/requirements.txt && [ -x .venv/bin/python ]; }

make_venv() {
    say "makes .venv with the clients of tests/requirements.txt, for the tests"
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt ||
        { warn "pip could not install tests/requirements.txt"; exit 1; }
    cp tests/requirements.txt .venv/requirements.txt
}

# --- the JavaScript side -------------------------------------------------------------------------

# The packages of tests/clients/package.json ask for release 20. Debian 12 has an older one, and a
# Node.js of somebody else's making is not for this script to install.
has_node() {
    has npm && [ "$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')" -ge 20 ] 2>/dev/null
}

# The stamp is written last, as above.
modules_are_ready() {
    cmp -s tests/clients/package-lock.json tests/clients/node_modules/installed.json
}

make_modules() {
    say "makes tests/clients/node_modules with the clients of tests/clients/package.json"
    npm ci --prefix tests/clients --silent --no-audit --no-fund --ignore-scripts ||
        { warn "npm could not install tests/clients/package.json"; exit 1; }
    cp tests/clients/package-lock.json tests/clients/node_modules/installed.json
}

# --- the order -----------------------------------------------------------------------------------

case "${1:-}" in
demo | test | bench) purpose=$1 ;;
*)
    warn "usage: scripts/install.sh demo|test|bench"
    exit 2
    ;;
esac

has cargo || cannot "missing: Rust; install it with rustup, then open a new shell"

find_missing "$purpose"
done_something=""
if [ -n "$packages" ]; then
    check_apt
    install_packages
    done_something=yes
fi
if [ "$purpose" = test ] && ! venv_is_ready; then
    make_venv
    done_something=yes
fi

notes=""
if [ "$purpose" = test ] && ! modules_are_ready; then
    if has_node; then
        make_modules
        done_something=yes
    else
        notes=" (note: no Node.js of release 20 or later with npm; tests with its clients are skipped)"
    fi
fi

overcommit=$(cat /proc/sys/vm/overcommit_memory 2>/dev/null || echo unknown)
if [ -z "$done_something" ]; then
    if [ "$overcommit" = 0 ]; then notes="$notes (note: vm.overcommit_memory is 0)"; fi
    say "nothing to do$notes"
else
    if [ -n "$notes" ]; then say "done$notes"; fi
    if [ "$overcommit" = 0 ]; then
        warn "warning: vm.overcommit_memory is 0. With little free memory an engine cannot fork, and"
        warn "warning: snapshots and new replicas fail. Not changed; 'sysctl vm.overcommit_memory=1' does."
    fi
fi
