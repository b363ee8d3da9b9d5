package action

import (
	"slices"
	"strings"
	"sync"
)

// Command is one of an engine's client, which asks the engine for some actions, one after the other.
type Command struct {
	Engine Engine
	// Name may have two words, as in "volume ls", and end with an option, as in "run -d".
	Name string
	// Actions are in the order in which the client asks for them. Purpose is the one that the
	// command is for.
	Actions []Action
	Purpose Action
}

// Client is the client's name.
func (c Command) Client() string {
	if c.Engine == Isulad {
		return "isula"
	}
	return "docker"
}

// sameCommands are the actions that the commands of both clients ask for.
const sameCommands = `create: container_create
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

// isulaCommands are those of isula's other commands (src/cmd/isula of iSulad 2.1.6), over TCP: the
// daemon does not ask about RemoteStart, by which run and "start -a" start a container. The action
// that a command is for is the last one, or has a star.
const isulaCommands = `run: container_create* container_wait
run -d: container_create
start -a: container_wait
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

// dockerCommands are those of docker's other commands (docker 20.10 and 28.2). Without docker_ping, which all of them ask for at first, they
// go on in the oldest version of the API that they know.
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

// commands are those of both.
var commands = sync.OnceValue(func() []Command {
	return append(parseCommands(Docker, dockerCommands+"\n"+sameCommands), parseCommands(Isulad, isulaCommands+"\n"+sameCommands)...)
})

// Commands are the commands of both clients.
func Commands() []Command { return commands() }

// CommandOf returns a command of an engine's client. "volume" and "network" of isula stand for all
// of their commands.
func CommandOf(e Engine, name string) (Command, bool) {
	all := Command{Engine: e, Name: name}
	for _, c := range commands() {
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
	if len(all.Actions) > 0 || e != Isulad {
		return all, len(all.Actions) > 0
	}
	plain, options := splitOptions(name)
	for _, option := range options {
		for _, c := range commands() {
			if c.Engine == e && c.Name == plain+" "+option {
				return c, true
			}
		}
	}
	if plain == name {
		return Command{}, false
	}
	return CommandOf(e, plain)
}

// terminalOptions are those options of isula that have no value and may change which actions it
// asks for, by their letters.
var terminalOptions = map[string]string{
	"--attach": "a", "--detach": "d", "--interactive": "i", "--tty": "t",
}

// splitOptions splits "run -tid" into the command and its options, -t, -i and -d. It returns the
// whole line as the command if that has other options.
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
	known := Of(e)
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
