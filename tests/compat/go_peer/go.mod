module go_peer

go 1.21

require (
	github.com/hashicorp/yamux v0.1.2
	github.com/ugorji/go/codec v1.3.2
)
