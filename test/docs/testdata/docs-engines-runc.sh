root_fs /home/web/rootfs
bundle /home/plain /home/apart /home/both
