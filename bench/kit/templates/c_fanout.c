/* The floor of the fan-out bench: what one publisher sends goes to every subscriber, by send() in a loop.
 *
 * cc -O2 c_fanout.c -o c_fanout; ./c_fanout PORT. A connection that says GET is a subscriber: it gets a chunked
 * head and is never looked at again. One that says POST is the publisher: what it sends after its head are HTTP
 * chunks, and whatever one recv() brings goes out as it is. Blocking sends: a slow subscriber holds up the rest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SUBSCRIBERS 65536
#define MAX_BURST (1 << 18)

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                           "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
static char buffer[MAX_BURST];
static int subscribers[MAX_SUBSCRIBERS], count, publisher = -1, poller;

static void send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* gone: the load notices what is missing */
        data += sent;
        size -= (size_t)sent;
    }
}

static void publish(const char *data, size_t size) {
    if (!size)
        return;
    for (int k = 0; k < count; k++)
        send_all(subscribers[k], data, size);
}

static void greet(int fd, ssize_t size) {
    if (size > 4 && !memcmp(buffer, "GET ", 4) && count < MAX_SUBSCRIBERS) {
        epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
        send_all(fd, HEAD, sizeof HEAD - 1);
        subscribers[count++] = fd;
        return;
    }
    char *body = size > 0 ? memmem(buffer, (size_t)size, "\r\n\r\n", 4) : NULL;
    if (body && !memcmp(buffer, "POST", 4)) {
        publisher = fd;
        publish(body + 4, (size_t)(buffer + size - body - 4));
        return;
    }
    close(fd);
}

static void accept_one(int listener) {
    int fd = accept(listener, NULL, NULL), on = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("c_fanout");
        return 1;
    }
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    while (epoll_wait(poller, &event, 1, -1) >= 0) {
        if (event.data.fd == listener) {
            accept_one(listener);
            continue;
        }
        ssize_t size = recv(event.data.fd, buffer, sizeof buffer, 0);
        if (event.data.fd != publisher)
            greet(event.data.fd, size);
        else if (size > 0)
            publish(buffer, (size_t)size);
        else
            return 0; /* the publisher has left: the bench is over */
    }
    return 1;
}
