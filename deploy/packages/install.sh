#!/bin/sh
# Installs, upgrades or removes one part of Postern on a Linux host, from the unpacked package that this file is in.
#
# Programs and their private libraries go to PREFIX/lib/postern-PART, with links in PREFIX/bin. They use the host's C
# library where it is new enough, else the one in the package: then the path of its loader is written into the copies of
# the programs, in a field that the package keeps free for it (interpreter-slots).
# Run again with a newer package it upgrades; nothing that you changed in /etc/postern is touched, and no state.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
. "$here/part.sh"   # part, version, programs, manuals, units, user, group, config_files, state_folders

usage() {
  cat <<TEXT
./install.sh [--prefix DIR] [--libc auto|host|own]     install or upgrade postern-$part $version
./install.sh --uninstall [--purge] [--prefix DIR]      remove it; its state and configuration stay unless --purge

  --prefix DIR   where to (default /usr/local)
  --libc WHICH   C library: the host's, the package's own, or auto: the host's where the programs start with it
Without root it needs a --prefix that you may write, and leaves services, users and /etc alone.
TEXT
}

say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
wrong() { printf 'install.sh: %s\n' "$*" >&2; usage >&2; exit 2; }
has() { command -v "$1" >/dev/null 2>&1; }

prefix=/usr/local libc=auto action=install purge=no
while [ $# -gt 0 ]; do
  case $1 in
    --prefix | --libc) [ $# -ge 2 ] || wrong "$1 needs a value"; eval "${1#--}=\$2"; shift ;;
    --prefix=*) prefix=${1#*=} ;;
    --libc=*) libc=${1#*=} ;;
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown argument '$1'" ;;
  esac
  shift
done
case $libc in auto | host | own) ;; *) wrong "--libc is auto, host or own" ;; esac
case $prefix in /*) ;; *) wrong "--prefix must be an absolute path" ;; esac
[ "$purge" = no ] || [ "$action" = uninstall ] || wrong "--purge belongs to --uninstall"
prefix=${prefix%/}

root=no
[ "$(id -u)" != 0 ] || root=yes
if [ $root = no ] && { [ "$prefix" = /usr/local ] || [ "$prefix" = /usr ]; }; then
  die "$prefix belongs to root: run it with sudo, or give a --prefix that you may write"
fi
home=$prefix/lib/postern-$part
manifest=$home/manifest
case $prefix in
  /usr | "") unit_folder=/usr/lib/systemd/system ;;
  /usr/local) unit_folder=/usr/local/lib/systemd/system ;;
  *) unit_folder=/etc/systemd/system ;;
esac
services=no   # are there services on this host, and may we touch them?
[ $root = no ] || ! has systemctl || services=yes
running=no    # is systemd running, so that it can be told?
[ ! -d /run/systemd/system ] || running=yes

# --- removing --------------------------------------------------------------------------------------------------------

remove() {
  [ -e "$manifest" ] || die "postern-$part is not installed below $prefix"
  if [ $services = yes ] && [ $running = yes ]; then
    for unit in $units; do systemctl -q disable --now "$unit" || true; done
    say "stopped   $units"
  fi
  while read -r file; do
    rm -f "$file"
    say "removed   $file"
  done < "$manifest"
  rm -rf "$home"
  rmdir "$prefix/share/doc/postern-$part" 2>/dev/null || true
  say "removed   $home"
  if [ $services = yes ] && [ $running = yes ]; then systemctl daemon-reload; fi
  if [ $root = no ]; then return; fi
  if [ $purge = no ]; then
    say "kept      /etc/postern and $state_folders (remove them with --uninstall --purge)"
    return
  fi
  for folder in $state_folders; do
    rm -rf "$folder"
    say "removed   $folder"
  done
  for entry in $config_files; do
    rm -f "/etc/postern/${entry%%:*}"
    say "removed   /etc/postern/${entry%%:*}"
  done
  rmdir /etc/postern 2>/dev/null || true
  if [ -n "$user" ] && id "$user" >/dev/null 2>&1 && has userdel; then
    userdel "$user"
    say "removed   user $user"
  fi
}

# --- installing ------------------------------------------------------------------------------------------------------

check_package() {
  [ "$(uname -s)" = Linux ] || die "this package is for Linux, and this is $(uname -s)"
  [ "$(uname -m)" = x86_64 ] || die "this package is for x86_64, and this is $(uname -m): nothing was changed"
  has sha256sum || { say "sha256sum is missing here: the package is not checked"; return 0; }
  (cd "$here" && sha256sum -c SHA256SUMS >/dev/null 2>&1) ||
    die "the package is damaged (SHA256SUMS does not match): unpack it again; nothing was changed"
}

starts() { for program in $programs; do "$1/bin/$program" --version >/dev/null 2>&1 || return 1; done; }

# Writes the path of a loader into a program's field for it, and zeros behind it.
set_loader() { # PROGRAM OFFSET SIZE LOADER
  dd if=/dev/zero of="$1" bs=1 seek="$2" count="$3" conv=notrunc 2>/dev/null
  printf '%s' "$4" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# The new folder is complete before it takes the old one's place; what runs keeps the files it has open.
install_programs() {
  if [ $libc = auto ]; then
    libc=own
    ! starts "$here" || libc=host
  fi
  loader=$home/libc/ld-linux-x86-64.so.2
  while read -r program offset size; do
    [ $libc = host ] || [ ${#loader} -lt "$size" ] || die "--prefix is too long: $loader has to fit into $size bytes"
  done < "$here/interpreter-slots"
  rm -rf "$home.new" "$home.old"
  mkdir -p "$home.new" "$prefix/bin"
  cp -R "$here/bin" "$here/lib" "$home.new/"
  if [ $libc = own ]; then
    cp -R "$here/glibc" "$home.new/libc"
    while read -r program offset size; do
      set_loader "$home.new/$program" "$offset" "$size" "$loader"
    done < "$here/interpreter-slots"
  fi
  [ ! -e "$home" ] || mv "$home" "$home.old"
  mv "$home.new" "$home"
  [ ! -e "$home.old/manifest" ] || cp "$home.old/manifest" "$manifest"
  if [ $root = yes ] && has restorecon; then restorecon -R "$home" || true; fi
  if ! starts "$home"; then
    rm -rf "$home"
    [ ! -e "$home.old" ] || mv "$home.old" "$home"
    die "the programs do not start with the C library '$libc' on this host: the installation is as it was before"
  fi
  say "installed $home (C library: $([ $libc = own ] && echo "the package's own" || echo "the host's"))"
}

# A file outside the folder of the programs; it is remembered, so that --uninstall and upgrades find it.
place() { # SOURCE TARGET MODE
  mkdir -p "$(dirname "$2")"
  cp "$1" "$2.new"
  chmod "$3" "$2.new"
  mv "$2.new" "$2"
  printf '%s\n' "$2" >> "$home/manifest.new"
  say "installed $2"
}

install_links() {
  for program in $programs; do
    rm -f "$prefix/bin/$program"
    ln -s "../lib/postern-$part/bin/$program" "$prefix/bin/$program"
    printf '%s\n' "$prefix/bin/$program" >> "$home/manifest.new"
    say "installed $prefix/bin/$program"
  done
}

make_account() {
  if [ -n "$user" ] && ! id "$user" >/dev/null 2>&1; then
    if has useradd; then useradd -r -U -M -d / -s /usr/sbin/nologin "$user"
    elif has systemd-sysusers; then printf 'u %s - "Postern" / -\n' "$user" | systemd-sysusers -
    elif has adduser; then adduser -S -D -H -h / -s /sbin/nologin "$user"
    else say "no program here makes users: make the system user $user yourself"; return 0
    fi
    say "added     user $user"
  fi
  if [ -n "$group" ] && ! grep -q "^$group:" /etc/group; then
    if has groupadd; then groupadd -r "$group"
    elif has systemd-sysusers; then printf 'g %s - -\n' "$group" | systemd-sysusers -
    elif has addgroup; then addgroup -S "$group"
    else say "no program here makes groups: make the group $group yourself"; return 0
    fi
    say "added     group $group (its members may use postern: usermod -aG $group NAME)"
  fi
}

install_configuration() {
  mkdir -p /etc/postern
  for entry in $config_files; do
    file=/etc/postern/${entry%%:*}
    if [ -e "$file" ]; then
      say "kept      $file"
      continue
    fi
    (umask 077 && cp "$here/config/${entry%%:*}" "$file.new")
    chmod "${entry##*:}" "$file.new"
    mv "$file.new" "$file"
    say "installed $file"
  done
}

install_units() {
  if [ $services = no ]; then
    say "no systemd here: no service was installed; programs are in $prefix/bin"
    return
  fi
  for unit in $units; do
    sed "s|@BIN@|$prefix/bin|g" "$here/systemd/$unit" > "$home/unit.new"
    place "$home/unit.new" "$unit_folder/$unit" 644
    rm -f "$home/unit.new"
  done
  [ $running = yes ] || return 0
  systemctl daemon-reload
  for unit in $enabled_units; do systemctl -q enable "$unit"; done
  for unit in $units; do
    if systemctl -q is-active "$unit"; then
      systemctl restart "$unit"
      say "restarted $unit"
    fi
  done
}

# What an older version had and this one has not.
forget_old_files() {
  if [ -e "$home.old/manifest" ]; then
    while read -r file; do
      grep -qxF "$file" "$home/manifest.new" || { rm -f "$file"; say "removed   $file"; }
    done < "$home.old/manifest"
  fi
  mv "$home/manifest.new" "$manifest"
  rm -rf "$home.old"
}

install() {
  check_package
  install_programs
  install_links
  for page in $manuals; do place "$here/man/$page" "$prefix/share/man/man${page##*.}/$page" 644; done
  for text in LICENSE NOTICE install.md; do place "$here/$text" "$prefix/share/doc/postern-$part/$text" 644; done
  if [ $root = yes ]; then
    make_account
    install_configuration
  fi
  install_units
  forget_old_files
  say "postern-$part $version is installed. Next: $prefix/share/doc/postern-$part/install.md"
}

if [ $action = uninstall ]; then remove; else install; fi
