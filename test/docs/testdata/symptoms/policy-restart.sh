provoke() {
	echo '{"name":"more","users":["dave"],"actions":["*"]}' >>/var/lib/authz-broker/policy.json
	if systemctl restart authz-broker; then return 1; fi
}
seen() { ! timeout 3 curl --silent --unix-socket /run/docker/plugins/authz-broker.sock --data '' http://localhost/Plugin.Activate; }
found() { grep -q 'policy.json:[0-9]*: .*\*'; }
