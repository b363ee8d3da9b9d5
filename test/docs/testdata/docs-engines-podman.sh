with_podman
root_fs /home/root-fs /home/apart /home/mapped
