rm -f /etc/containerd/config.toml # that of Debian's package
with_podman
root_fs /home/root-fs /home/apart /home/both
