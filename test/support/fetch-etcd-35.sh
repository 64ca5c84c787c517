#!/bin/sh
# Fetch etcd 3.5 (server and etcdctl) from Debian trixie into a cache directory, without installing anything.
#
#   fetch-etcd-35.sh TARGET_DIRECTORY
#
# apt itself does the work with its own private state: one source list, its own package lists and archives below the
# target. Of the machine's apt configuration only the mirror's address is read, and nothing is changed. Packages are
# signed by the Debian archive keys that the machine already trusts. The result is TARGET/usr/bin/etcd and TARGET/usr/bin/etcdctl;
# when both are there the script does nothing. Concurrent runs are safe: each works in its own directory and the last
# step is a rename.
set -eu

target=$1
# The mirror that this machine's apt uses for Debian itself; trixie stands beside the release that is installed.
mirror=${KVORUM_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -v security | head -n 1)}
suite=trixie

if [ -x "$target/usr/bin/etcd" ] && [ -x "$target/usr/bin/etcdctl" ]; then
  exit 0
fi

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
# apt drops its rights to the user _apt for downloads; that user must be able to reach the directory.
chmod 755 "$work"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$work/sources.list"

private_apt() {
  apt-get -q \
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives" \
    -o Dir::State::Status=/dev/null -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

private_apt update >&2
(cd "$work" && private_apt download etcd-server etcd-client >&2)
for package in "$work"/*.deb; do
  dpkg -x "$package" "$work/root"
done
"$work/root/usr/bin/etcd" --version >&2

# Another run may have been faster: its result is as good as ours.
mv -T "$work/root" "$target" 2>/dev/null || [ -x "$target/usr/bin/etcd" ]
