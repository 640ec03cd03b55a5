// A peer of goldsmith's plugin protocol on the libraries that Packer's own programs use.
//
//	go_peer plugin           serve a builder, as a plugin does
//	go_peer host SOCKET      drive a provisioner, as Packer does; tells what came of it as JSON
//	go_peer encode           write a gob stream with values of every kind
//	go_peer decode           read a specification in gob, write it as JSON
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/ugorji/go/codec"
)

func main() {
	verbs := map[string]func() error{"plugin": plugin, "host": host, "encode": encode, "decode": decode}
	verb, known := verbs[os.Args[1]]
	if !known {
		fmt.Fprintln(os.Stderr, "unknown verb", os.Args[1])
		os.Exit(2)
	}
	if err := verb(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// broker gives numbers to the streams of a session.
type broker struct {
	session *yamux.Session
	last    atomic.Uint32
	lock    sync.Mutex
	waiting map[uint32]chan net.Conn
}

func newBroker(session *yamux.Session) *broker {
	b := &broker{session: session, waiting: map[uint32]chan net.Conn{}}
	go func() {
		for {
			stream, err := session.Accept()
			if err != nil {
				return
			}
			go func() {
				var number uint32
				if binary.Read(stream, binary.LittleEndian, &number) == nil {
					b.queue(number) <- stream
				}
			}()
		}
	}()
	return b
}

func (b *broker) queue(number uint32) chan net.Conn {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.waiting[number] == nil {
		b.waiting[number] = make(chan net.Conn, 1)
	}
	return b.waiting[number]
}

func (b *broker) accept(number uint32) (net.Conn, error) {
	select {
	case stream := <-b.queue(number):
		return stream, binary.Write(stream, binary.LittleEndian, number)
	case <-time.After(60 * time.Second):
		return nil, errors.New("nobody dialled")
	}
}

func (b *broker) dial(number uint32) (net.Conn, error) {
	stream, err := b.session.Open()
	if err != nil {
		return nil, err
	}
	if err := binary.Write(stream, binary.LittleEndian, number); err != nil {
		return nil, err
	}
	var echo uint32
	if err := binary.Read(stream, binary.LittleEndian, &echo); err != nil {
		return nil, err
	}
	if echo != number {
		return nil, fmt.Errorf("dialled %d, got %d", number, echo)
	}
	return stream, nil
}

func handle() *codec.MsgpackHandle { return &codec.MsgpackHandle{WriteExt: true} }

func (b *broker) serve(number uint32, services map[string]any) {
	stream, err := b.accept(number)
	if err != nil {
		return
	}
	server := rpc.NewServer()
	for name, service := range services {
		if err := server.RegisterName(name, service); err != nil {
			panic(err)
		}
	}
	server.ServeCodec(codec.GoRpc.ServerCodec(stream, handle()))
	stream.Close()
}

func (b *broker) serveNext(services map[string]any) uint32 {
	number := b.last.Add(1)
	go b.serve(number, services)
	return number
}

func (b *broker) call(number uint32) (*rpc.Client, error) {
	stream, err := b.dial(number)
	if err != nil {
		return nil, err
	}
	return rpc.NewClientWithCodec(codec.GoRpc.ClientCodec(stream, handle())), nil
}

func quiet() *yamux.Config {
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	return config
}

// The plugin: a builder that tells what it was given.

type builder struct {
	broker *broker
	cancel chan struct{}
	once   sync.Once
}

type PrepareArguments struct{ Configs []any }
type BasicError struct{ Message string }
type PrepareReply struct {
	GeneratedVars []string
	Warnings      []string
	Error         *BasicError
}
type HookArguments struct {
	Name     string
	Data     any
	StreamId uint32
}

func (b *builder) Prepare(arguments *PrepareArguments, reply *PrepareReply) error {
	for _, config := range arguments.Configs {
		switch content := config.(type) {
		case nil:
			reply.Warnings = append(reply.Warnings, "nil")
		case []byte:
			reply.Warnings = append(reply.Warnings, "bytes "+string(content))
		case map[any]any:
			if content["fail"] != nil {
				reply.Error = &BasicError{fmt.Sprint(content["fail"])}
			}
			for key, value := range content {
				reply.GeneratedVars = append(reply.GeneratedVars, fmt.Sprintf("%v is %T %v", key, value, value))
			}
		default:
			reply.Error = &BasicError{fmt.Sprintf("a %T is no configuration", config)}
		}
	}
	return nil
}

func (b *builder) Run(number uint32, reply *uint32) error {
	client, err := b.broker.call(number)
	if err != nil {
		return err
	}
	defer client.Close()
	var nothing any
	if err := client.Call("Ui.Say", "from Go", &nothing); err != nil {
		return err
	}
	var answer string
	if err := client.Call("Ui.Ask", "really?", &answer); err != nil {
		return err
	}
	data := map[string]any{
		"text": "t\xff", "whole": 7, "negative": -300, "large": uint64(1) << 63, "float": 2.5, "flag": true,
		"bytes": []byte{0, 255}, "nothing": nil, "list": []any{"a", 1}, "time": time.Unix(1700000000, 5),
	}
	machine := &communicator{broker: b.broker, files: map[string][]byte{}}
	served := b.broker.serveNext(map[string]any{"Ui": &ui{}, "Communicator": machine})
	run := client.Go("Hook.Run", HookArguments{"packer_provision", data, served}, &nothing, nil)
	select {
	case <-run.Done:
		if run.Error != nil {
			return fmt.Errorf("hook: %w", run.Error)
		}
	case <-b.cancel:
		if err := client.Call("Hook.Cancel", nil, &nothing); err != nil {
			return err
		}
		<-run.Done
		return errors.New("context canceled")
	}
	*reply = b.broker.serveNext(map[string]any{"Artifact": &artifact{answer}})
	return nil
}

func (b *builder) Cancel(_ any, _ *any) error {
	b.once.Do(func() { close(b.cancel) })
	return nil
}

type artifact struct{ answer string }

func (a *artifact) BuilderId(_ any, reply *string) error { *reply = "go.peer"; return nil }
func (a *artifact) Id(_ any, reply *string) error        { *reply = a.answer; return nil }
func (a *artifact) String(_ any, reply *string) error    { *reply = "from Go"; return nil }
func (a *artifact) Files(_ any, reply *[]string) error   { *reply = nil; return nil }
func (a *artifact) State(name string, reply *any) error {
	if name == "generated_data" {
		*reply = map[string]any{"ID": "go-1"}
	}
	return nil
}
func (a *artifact) Destroy(_ any, reply *BasicError) error {
	*reply = BasicError{"it does not go"}
	return nil
}

type ui struct {
	lock sync.Mutex
	said []string
}

func (u *ui) Say(line string, _ *any) error {
	u.lock.Lock()
	defer u.lock.Unlock()
	u.said = append(u.said, line)
	return nil
}

type communicator struct {
	broker *broker
	lock   sync.Mutex
	files  map[string][]byte
}
type StartArguments struct {
	Command                                                         string
	StdinStreamId, StdoutStreamId, StderrStreamId, ResponseStreamId uint32
}
type CommandFinished struct{ ExitStatus int }
type fileInfo struct {
	N string
	S int64
	M os.FileMode
	T time.Time
}
type UploadArguments struct {
	Path           string
	ReaderStreamId uint32
	FileInfo       *fileInfo
}
type DownloadArguments struct {
	Path           string
	WriterStreamId uint32
}

// Start runs a command that copies its input, says its own text on stderr, and ends with 5.
func (c *communicator) Start(arguments *StartArguments, _ *any) error {
	streams := map[uint32]net.Conn{}
	for _, number := range []uint32{
		arguments.StdinStreamId, arguments.StdoutStreamId, arguments.StderrStreamId, arguments.ResponseStreamId,
	} {
		if number == 0 {
			continue
		}
		stream, err := c.broker.dial(number)
		if err != nil {
			return err
		}
		streams[number] = stream
	}
	if arguments.Command == "cannot start" {
		for number, stream := range streams {
			if number != arguments.ResponseStreamId {
				stream.Close()
			}
		}
		return errors.New("no such command")
	}
	go func() {
		if stdin := streams[arguments.StdinStreamId]; stdin != nil && streams[arguments.StdoutStreamId] != nil {
			io.Copy(streams[arguments.StdoutStreamId], stdin)
		}
		if stderr := streams[arguments.StderrStreamId]; stderr != nil {
			io.WriteString(stderr, arguments.Command)
		}
		response := streams[arguments.ResponseStreamId]
		delete(streams, arguments.ResponseStreamId)
		for _, stream := range streams {
			stream.Close()
		}
		gob.NewEncoder(response).Encode(&CommandFinished{5})
		response.Close()
	}()
	return nil
}

func (c *communicator) Upload(arguments *UploadArguments, _ *any) error {
	stream, err := c.broker.dial(arguments.ReaderStreamId)
	if err != nil {
		return err
	}
	defer stream.Close()
	content, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	if about := arguments.FileInfo; about != nil {
		c.files[arguments.Path+".info"] = fmt.Appendf(nil, "%s %d %s %d", about.N, about.S, about.M, about.T.UnixNano())
	}
	c.files[arguments.Path] = content
	return nil
}

func (c *communicator) Download(arguments *DownloadArguments, _ *any) error {
	stream, err := c.broker.dial(arguments.WriterStreamId)
	if err != nil {
		return err
	}
	defer stream.Close()
	c.lock.Lock()
	content, known := c.files[arguments.Path]
	c.lock.Unlock()
	if !known {
		return fmt.Errorf("there is no %s", arguments.Path)
	}
	_, err = io.Copy(stream, bytes.NewReader(content))
	return err
}

func plugin() error {
	directory, err := os.MkdirTemp("", "go-peer")
	if err != nil {
		return err
	}
	path := filepath.Join(directory, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	fmt.Printf("5|0|unix|%s\n", path)
	connection, err := listener.Accept()
	if err != nil {
		return err
	}
	os.RemoveAll(directory)
	session, err := yamux.Server(connection, quiet())
	if err != nil {
		return err
	}
	b := newBroker(session)
	b.serve(0, map[string]any{"Builder": &builder{broker: b, cancel: make(chan struct{})}})
	return nil
}

// The host: drives a provisioner.

type ProvisionArguments struct {
	GeneratedData map[string]any
	StreamID      uint32
}

func host() error {
	connection, err := net.Dial("unix", os.Args[2])
	if err != nil {
		return err
	}
	session, err := yamux.Client(connection, quiet())
	if err != nil {
		return err
	}
	b := newBroker(session)
	client, err := b.call(0)
	if err != nil {
		return err
	}
	told := map[string]any{}
	var nothing any
	var spec struct{ ConfigSpec []byte }
	told["spec"] = fmt.Sprint(client.Call("Provisioner.ConfigSpec", nil, &spec))
	told["blob"] = hex.EncodeToString(spec.ConfigSpec)
	configs := []any{map[string]any{"times": 3.0, "list": []string{"a"}}, nil, []byte(`{"value":{"a":"x"},"type":["object",{"a":"string"}]}`)}
	told["prepare"] = fmt.Sprint(client.Call("Provisioner.Prepare", PrepareArguments{configs}, &nothing))
	told["wrong shape"] = fmt.Sprint(client.Call("Provisioner.Prepare", "text", &nothing))
	told["unknown"] = fmt.Sprint(client.Call("Provisioner.Nope", nil, &nothing))
	screen, machine := &ui{}, &communicator{broker: b, files: map[string][]byte{}}
	served := b.serveNext(map[string]any{"Ui": screen, "Communicator": machine})
	data := map[string]any{"ID": "go", "Time": time.Unix(1700000000, 5)}
	told["provision"] = fmt.Sprint(client.Call("Provisioner.Provision", ProvisionArguments{data, served}, &nothing))
	told["said"] = screen.said
	for name, content := range machine.files {
		sum := sha256.Sum256(content)
		told["file "+name] = fmt.Sprintf("%d %s", len(content), hex.EncodeToString(sum[:]))
	}
	json.NewEncoder(os.Stdout).Encode(told)
	return connection.Close()
}
