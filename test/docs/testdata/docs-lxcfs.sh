systemctl start lxcfs
bundle /home/web
runc run --detach --bundle /home/web web
