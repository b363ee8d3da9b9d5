with_isulad
chmod o+x /var/lib/isulad
mkdir -p -m 711 /var/lib/isulad/engines/lcr
root_fs /home/root-fs
bundle /home/bundle
