with_isulad
root_fs /home/root-fs /home/apart
