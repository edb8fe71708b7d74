#!/usr/bin/env bash
# Installs Rivergate from this checkout: a virtual environment of its own for each release, from hashed lock files,
# and the units of systemd. Run it again to upgrade; nothing that runs is stopped, nothing that was edited is changed.
set -euo pipefail
umask 022

usage() {
  cat <<'USAGE'
usage: deploy/install.sh [action] [options]

  (no action)      install, or upgrade: build a release, make it the current one
  --rollback       make the previous release the current one
  --uninstall      remove the program and the units; configuration, credentials and ledger stay
  --purge          with --uninstall: remove these too

  --root DIR       put everything below DIR and leave the system alone (no user, no systemctl): for trying it
  --prefix DIR     where the program goes (/opt/rivergate)
  --python PYTHON  the interpreter, 3.11 or newer (python3)
  --wheels DIR     take the packages from this folder and not from the network
  --sysctl         also install and load deploy/90-rivergate.conf
  -q, --quiet      tell nothing but what goes wrong
  -h, --help
USAGE
}

say() { [[ $quiet == yes ]] || printf '%s\n' "$@"; }
step() { # step TEXT: the next of $steps, with the seconds since the start
  number=$((number + 1))
  say "$(printf '[%d/%d] %3d s  %s' "$number" "$steps" "$SECONDS" "$*")"
}
refuse() {
  printf 'install.sh: %s\n' "$@" >&2
  exit 1
}

action=install root='' prefix=/opt/rivergate python=python3 wheels='' sysctl=no purge=no quiet=no
number=0 steps=0
need_value() { [[ $# -ge 2 && -n $2 ]] || refuse "$1 needs a value; --help tells more"; }
while (($#)); do
  case $1 in
    --uninstall) action=uninstall ;;
    --rollback) action=rollback ;;
    --purge) purge=yes ;;
    --sysctl) sysctl=yes ;;
    -q | --quiet) quiet=yes ;;
    --root) need_value "$@" && root=$2 && shift ;;
    --prefix) need_value "$@" && prefix=$2 && shift ;;
    --python) need_value "$@" && python=$2 && shift ;;
    --wheels) need_value "$@" && wheels=$2 && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && refuse "unknown argument: $1" ;;
  esac
  shift
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(dirname "$here")
[[ $purge == no || $action == uninstall ]] || refuse "--purge goes with --uninstall"
[[ $prefix =~ ^/[A-Za-z0-9._/-]+$ && $prefix != *..* ]] || refuse "--prefix must be an absolute path of plain letters"
prefix=${prefix%/}
case $prefix in '' | /usr | /usr/local | /opt | /etc | /var | /home | /bin | /lib) refuse "--prefix must be a folder of its own, such as /opt/rivergate" ;; esac
if [[ -n $root ]]; then
  mkdir -p "$root" || refuse "cannot make the folder $root"
  root=$(cd "$root" && pwd)
  [[ $root != / ]] || root=''
fi
[[ -n $root || $(id -u) -eq 0 ]] || refuse "must be run as root (sudo), or with --root DIR to try it in a folder"

program=$root$prefix
etc=$root/etc/rivergate
units=$root/etc/systemd/system
sysusers=$root/etc/sysusers.d/rivergate.conf
sysctl_file=$root/etc/sysctl.d/90-rivergate.conf
state=$root/var/lib/rivergate

live_systemd() { [[ -z $root && -d /run/systemd/system ]]; }
points_to() { if [[ -L $1 ]]; then basename "$(readlink "$1")"; fi; }
point() { # point LINK TARGET: in one step, so that there is no moment without a program
  ln -sfn "$2" "$1.new"
  mv -T "$1.new" "$1"
}

check_needs() {
  local file missing=()
  for file in pyproject.toml gateway/commands/app.py deploy/{requirements,build}.lock deploy/rivergate.{toml,service,socket} \
    deploy/{README.md,rivergate-admin,sysusers.conf,90-rivergate.conf}; do
    [[ -f $checkout/$file ]] || missing+=("$file")
  done
  ((${#missing[@]} == 0)) || refuse "$checkout is not a whole checkout; missing: ${missing[*]}"
  [[ $(uname -s) == Linux ]] || refuse "the installation is made for Linux; elsewhere: pip install ."
  command -v "$python" >/dev/null || refuse "$python is not installed (Debian: apt-get install python3 python3-venv)"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    refuse "$python is $("$python" -V 2>&1 | cut -d' ' -f2), 3.11 or newer is needed; name one with --python"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    refuse "$python cannot make virtual environments (Debian: apt-get install python3-venv)"
  [[ -z $wheels || -d $wheels ]] || refuse "--wheels $wheels: there is no such folder"
}

release_id() {
  local version digest
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$checkout/pyproject.toml" | head -n1)
  digest=$(
    cd "$checkout"
    {
      "$python" -c 'import sys; print(sys.version, sys.prefix)'
      find gateway -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
      sha256sum pyproject.toml README.md deploy/*.lock
    } | sha256sum | cut -c1-10
  )
  printf '%s-%s\n' "$version" "$digest"
}

build() { # build RELEASE: a virtual environment without pip, as it is never changed
  local release=$1 source=() pip
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  [[ -z $wheels ]] || source=(--no-index --find-links "$(cd "$wheels" && pwd)")
  pip=("$scratch/build/bin/python" -m pip --disable-pip-version-check --no-input --quiet)

  step "fetching the tools of deploy/build.lock"
  "$python" -m venv "$scratch/build"
  "${pip[@]}" install "${source[@]}" --require-hashes --only-binary :all: -r "$here/build.lock"
  step "building release $(basename "$release")"
  "${pip[@]}" wheel --no-index --no-deps --no-build-isolation --wheel-dir "$scratch/wheel" "$checkout"

  step "installing the packages of deploy/requirements.lock, every file checked against its hash"
  rm -rf "$release"
  mkdir -p "$(dirname "$release")"
  "$python" -m venv --without-pip "$release"
  pip=("$scratch/build/bin/python" -m pip --python "$release/bin/python" --disable-pip-version-check --no-input --quiet)
  "${pip[@]}" install "${source[@]}" --require-hashes --only-binary :all: -r "$here/requirements.lock"
  "${pip[@]}" install --no-index --no-deps "$scratch"/wheel/rivergate-*.whl

  step "trying whether it runs"
  install -m 755 "$here/rivergate-admin" "$release/bin/rivergate-admin"
  sed -i "s#/opt/rivergate#$prefix#g" "$release/bin/rivergate-admin"
  mkdir -p "$release/share/doc/rivergate"
  install -m 644 "$here/README.md" "$release/share/doc/rivergate/README.md"
  "$release/bin/rivergate" --version >/dev/null || refuse "the release does not run; the current one is unchanged"
  touch "$release/.complete"
}

switch_to() { # switch_to ID
  local old
  old=$(points_to "$program/current")
  if [[ -n $old && $old != "$1" ]]; then point "$program/previous" "releases/$old"; fi
  point "$program/current" "releases/$1"
}

prune() { # what is neither the current nor the previous release
  local folder name current previous
  current=$(points_to "$program/current") previous=$(points_to "$program/previous")
  for folder in "$program"/releases/*/; do
    name=$(basename "$folder")
    if [[ $name != "$current" && $name != "$previous" ]]; then rm -rf "$program/releases/$name"; fi
  done
}

install_files() {
  local unit
  mkdir -p "$program/bin" "$units" "$(dirname "$sysusers")"
  point "$program/bin/rivergate" ../current/bin/rivergate
  point "$program/bin/rivergate-admin" ../current/bin/rivergate-admin
  for unit in rivergate.service rivergate.socket; do
    sed "s#/opt/rivergate#$prefix#g" "$here/$unit" >"$units/$unit"
    chmod 644 "$units/$unit"
  done
  install -m 644 "$here/sysusers.conf" "$sysusers"
  mkdir -p "$etc"
  if [[ ! -d $etc/credentials ]]; then install -d -m 700 "$etc/credentials"; fi
  if [[ ! -e $etc/rivergate.toml ]]; then
    install -m 644 "$here/rivergate.toml" "$etc/rivergate.toml"
    say "    wrote ${etc#"$root"}/rivergate.toml, an example to edit"
  fi
  if [[ $sysctl == yes ]]; then
    mkdir -p "$(dirname "$sysctl_file")"
    install -m 644 "$here/90-rivergate.conf" "$sysctl_file"
    if [[ -z $root ]]; then sysctl -q -p "$sysctl_file"; fi
  fi
}

make_user() {
  [[ -z $root ]] || return 0
  if getent passwd rivergate >/dev/null; then return 0; fi
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers "$sysusers"
  elif command -v useradd >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/rivergate --no-create-home --shell /usr/sbin/nologin rivergate
  else
    refuse "neither systemd-sysusers nor useradd is there: make a system user rivergate and run this again"
  fi
  say "    made the user rivergate"
}

tell_next() { # tell_next UPGRADED
  [[ $quiet == no ]] || return 0
  say "" "rivergate $("$program/current/bin/rivergate" --version | cut -d' ' -f2) is in $program"
  if [[ -n $root ]]; then
    say "Try it: $program/bin/rivergate demo" "Remove it: $0 --uninstall --root $root --prefix $prefix"
  elif [[ $1 == yes ]]; then
    say "Take it into use, refusing nobody:  systemctl restart rivergate.service" \
      "Back to the release before:         $0 --rollback && systemctl restart rivergate.service"
  else
    cat <<NEXT
Next:
  1. a provider's key:   install -m 600 /dev/stdin $etc/credentials/openai     (paste it, Enter, Ctrl-D)
  2. the configuration:  \${EDITOR:-vi} $etc/rivergate.toml
                         $prefix/bin/rivergate-admin check $etc/rivergate.toml
  3. a client's key:     $prefix/bin/rivergate-admin keys create --name first
  4. start:              systemctl enable --now rivergate.socket rivergate.service
                         curl -s http://127.0.0.1:8080/readyz
The rest stands in deploy/README.md: reverse proxies, limits, alerts, upgrade.
NEXT
  fi
}

do_install() {
  local id had
  check_needs
  id=$(release_id)
  had=$(points_to "$program/current")
  if [[ -f $program/releases/$id/.complete ]]; then
    steps=4
    step "release $id is built already"
  else
    steps=7
    build "$program/releases/$id"
  fi
  step "making it the current release"
  switch_to "$id"
  step "units, configuration and user"
  install_files
  make_user
  if live_systemd; then systemctl daemon-reload; fi
  step "removing releases that are neither the current one nor the one before"
  prune
  tell_next "$([[ -n $had ]] && echo yes || echo no)"
}

do_rollback() {
  local old
  old=$(points_to "$program/previous")
  [[ -n $old && -f $program/releases/$old/.complete ]] || refuse "there is no previous release in $program"
  switch_to "$old"
  say "the current release is $old" "Take it into use:  systemctl restart rivergate.service"
}

do_uninstall() {
  local stop=no
  if live_systemd && [[ -e $units/rivergate.service ]]; then stop=yes; fi
  steps=1
  if [[ $stop == yes ]]; then steps=$((steps + 1)); fi
  if [[ $purge == yes ]]; then steps=$((steps + 1)); fi
  if [[ $stop == yes ]]; then
    step "stopping (running streams may end first)"
    systemctl disable --now rivergate.socket rivergate.service || true
  fi
  step "removing $program and the units"
  rm -f "$units/rivergate.service" "$units/rivergate.socket" "$sysusers" "$sysctl_file"
  rm -f "$program/bin/rivergate" "$program/bin/rivergate-admin" "$program/current" "$program/previous"
  rm -rf "$program/releases"
  rmdir --ignore-fail-on-non-empty "$program/bin" "$program" 2>/dev/null || true
  if live_systemd; then systemctl daemon-reload; fi
  if [[ $purge == yes ]]; then
    step "removing $etc and $state"
    rm -rf "$etc" "$state"
    if [[ -z $root ]] && getent passwd rivergate >/dev/null; then userdel rivergate || true; fi
  else
    say "kept: $etc (configuration, credentials), $state (keys, balances, usage); --purge removes them"
  fi
}

case $action in
  install) do_install ;;
  rollback) do_rollback ;;
  uninstall) do_uninstall ;;
esac
