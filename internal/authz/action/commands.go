package action

import (
	"slices"
	"strings"
	"sync"
)

// Command is a command of an engine's client, with the actions that it requests.
type Command struct {
	Engine Engine
	// Name may have two words, as in "volume ls", and end with an option, as in "run -d".
	Name string
	// Actions are in the order in which the client requests them.
	Actions []Action
	// Purpose is the action that the user wants; the command needs the others to get there.
	Purpose Action
}

// Client returns the name of the client program.
func (c Command) Client() string {
	switch c.Engine {
	case Isulad:
		return "isula"
	case Podman:
		return "podman"
	}
	return "docker"
}

// commonCommands lists the commands for which docker and isula request the same actions.
const commonCommands = `create: container_create
start: container_start
stop: container_stop
restart: container_restart
kill: container_kill
rm: container_delete
pause: container_pause
unpause: container_unpause
rename: container_rename
update: container_update
export: container_export
inspect: container_inspect
ps: container_list
wait: container_wait
events: docker_events
version: docker_version
info: docker_info
images: image_list
rmi: image_delete
tag: image_tag`

// isulaCommands lists isula's other commands (src/cmd/isula of iSulad 2.1.6). Over TCP, run and
// "start -a" call RemoteStart, which is container_start to a front; iSulad does not ask its plug-in
// about it. A star marks the Purpose of a command if it is not the last action.
const isulaCommands = `run: container_create* container_start container_wait
run -d: container_create* container_start
start -a: container_start* container_wait
exec: container_inspect container_exec_create
attach: container_inspect container_wait container_attach
top: container_inspect container_top
cp: docker_info container_archive
stats: container_stats
logs: container_logs
port: container_inspect
volume ls: volume_list
volume rm: volume_remove
volume prune: volume_prune
network create: network_create
network inspect: network_inspect
network ls: network_list
network rm: network_remove
import: image_import
load: image_load
search: image_search
pull: pull
login: login
logout: logout`

// dockerCommands lists docker's other commands (docker 20.10 and 28.2). It omits docker_ping, which
// each command requests first, and without which the client falls back to the oldest API version.
const dockerCommands = `run: container_create container_attach container_wait container_start
exec: container_inspect container_exec_inspect container_exec_start container_exec_create
attach: container_inspect container_wait container_attach
top: container_top
cp: container_archive_info container_archive
stats: container_list container_stats
logs: container_inspect container_logs
diff: container_changes
commit: container_commit
save: images_archive
load: images_load
history: image_history
import: image_create
search: images_search
pull: image_create
push: image_push
build: image_build
login: docker_auth`

// podmanCommands lists the commands of podman --remote (podman 4.3.1). It omits docker_ping, which
// each command requests first. With --rm, run also requests docker_events and container_delete.
const podmanCommands = "run: image_create container_create container_inspect container_attach " +
	`container_start* container_wait
run -d: image_create container_create container_start
create: image_create container_create
init: container_list container_inspect container_init
start: container_list container_inspect container_start
start -a: container_list container_inspect container_attach container_start* container_wait
stop: container_list container_inspect container_stop
restart: container_list container_inspect container_restart
kill: container_list container_inspect container_kill
rm: container_list container_inspect container_delete
pause: container_list container_inspect container_pause
unpause: container_list container_inspect container_unpause
wait: container_list container_inspect container_wait
attach: container_list container_inspect container_attach
port: container_list container_inspect*
rename: container_rename
update: container_update
export: container_export
inspect: container_inspect
ps: container_list
exec: container_exec_inspect container_exec_start container_exec_create
exec -d: container_exec_start container_exec_create
top: container_top
cp: container_inspect container_archive_info container_archive
stats: container_stats
logs: container_logs
diff: container_changes
commit: container_commit
events: docker_events
version: docker_version
info: docker_info
images: image_list
rmi: image_delete
tag: image_tag
untag: image_untag
save: images_archive
load: images_load
history: image_history
import: image_import
search: images_search
pull: image_create
push: image_push
build: image_build
pod create: pod_create
pod ls: pod_list
pod inspect: pod_inspect
pod rm: pod_list pod_inspect pod_delete
volume create: volume_create
volume ls: volume_list
volume inspect: volume_inspect
volume rm: volume_remove
volume prune: volume_prune
network create: network_create
network ls: network_list
network inspect: network_inspect
network rm: network_remove
secret create: secret_create
secret ls: secret_list
secret inspect: secret_inspect
secret rm: secret_inspect secret_delete
kube play: libpod_kube_play
kube generate: libpod_kube_generate`

// Commands returns the commands of all clients.
var Commands = sync.OnceValue(func() []Command {
	docker := parseCommands(Docker, dockerCommands+"\n"+commonCommands)
	return slices.Concat(docker, parseCommands(Podman, podmanCommands),
		parseCommands(Isulad, isulaCommands+"\n"+commonCommands))
})

// FindCommand returns the named command of an engine's client. A name of several commands, such as
// isula's "volume", stands for all of them.
func FindCommand(e Engine, name string) (Command, bool) {
	names := []string{name}
	if plain, options := splitOptions(name); e != Docker && plain != name {
		for _, option := range options {
			names = append(names, plain+" "+option)
		}
		names = append(names, plain)
	}
	for _, name := range names {
		all := Command{Engine: e, Name: name}
		for _, c := range Commands() {
			group, _, _ := strings.Cut(c.Name, " ")
			switch {
			case c.Engine != e:
			case c.Name == name:
				return c, true
			case group == name:
				all.Actions = append(all.Actions, c.Actions...)
				all.Purpose = c.Purpose
			}
		}
		if len(all.Actions) > 0 {
			return all, true
		}
	}
	return Command{}, false
}

// terminalOptions maps options of isula and podman without a value, which may change the actions
// that a command requests, to their letters.
var terminalOptions = map[string]string{
	"--attach": "a", "--detach": "d", "--interactive": "i", "--tty": "t",
}

// splitOptions splits "run -tid" into the command and its options, -t, -i and -d. A line with any
// other option is returned whole, as the command.
func splitOptions(line string) (command string, options []string) {
	words := strings.Fields(line)
	first := slices.IndexFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") })
	if first <= 0 {
		return line, nil
	}
	for _, word := range words[first:] {
		letters, ok := terminalOptions[word]
		if !ok {
			letters = strings.TrimPrefix(word, "-")
		}
		if letters == "" || letters == word || strings.Trim(letters, "adit") != "" {
			return line, nil
		}
		for _, letter := range letters {
			options = append(options, "-"+string(letter))
		}
	}
	return strings.Join(words[:first], " "), options
}

func parseCommands(e Engine, table string) (parsed []Command) {
	known := List(e)
	for line := range strings.Lines(table) {
		name, actions, _ := strings.Cut(line, ":")
		c := Command{Engine: e, Name: name}
		starred := false
		for word := range strings.FieldsSeq(actions) {
			name, star := strings.CutSuffix(word, "*")
			for _, a := range known {
				if a.Name == name {
					c.Actions = append(c.Actions, a)
					if !starred {
						c.Purpose = a
					}
				}
			}
			starred = starred || star
		}
		parsed = append(parsed, c)
	}
	return parsed
}
