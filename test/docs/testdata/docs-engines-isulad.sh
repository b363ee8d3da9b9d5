install -m 755 $session/isula /usr/bin/isula
root_fs /home/root-fs /home/apart
