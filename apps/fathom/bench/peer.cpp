#include "bench/peer.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/numa.h"
#include "bench/peer_script.h"

extern char** environ;

namespace fathom::app {
namespace {

using Json = nlohmann::json;

constexpr const char* kHint = "name a Python that has PyTorch: --peer /path/to/python";

// The script's standard input and output are one socket: no SIGPIPE, and it ends when ours closes.
// A process group of its own keeps Ctrl-C from it.
pid_t spawn(const std::string& python, int socket, int threads) {
  std::vector<std::string> words = {
      python, "-u", "-c", kPeerScript, std::to_string(threads), format_cpu_list(machine().allowed)};
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, socket, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, socket, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t process = -1;
  const int error =
      posix_spawnp(&process, python.c_str(), &files, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0)
    throw Error(fmt::format("--peer: cannot run '{}': {}", python, std::strerror(error)), kHint);
  return process;
}

}  // namespace

Peer::Process::~Process() {
  if (socket >= 0) close(socket);
  if (id > 0) waitpid(id, nullptr, 0);
}

Peer::Peer(const std::string& python, int threads) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw_errno("--peer: no socket");
  process_.socket = ends[0];
  try {
    process_.id = spawn(python, ends[1], threads);
  } catch (...) {
    close(ends[1]);
    throw;
  }
  close(ends[1]);
  greet(python);
}

void Peer::greet(const std::string& python) {
  const std::string line = read_line();
  const Json hello = Json::parse(line, nullptr, false);
  if (hello.is_object() && hello.contains("name")) {
    name_ = hello["name"].get<std::string>();
    return;
  }
  throw Error(fmt::format("--peer: '{}' has no PyTorch: {}", python,
                          hello.is_object() ? hello.value("error", line) : line),
              kHint);
}

std::string Peer::prepare(const std::string& request) {
  const Json answer = Json::parse(exchange(request));
  return answer.value("error", "");
}

std::vector<double> Peer::time(double seconds) {
  const Json answer =
      Json::parse(exchange(fmt::format(R"({{"op":"time","seconds":{}}})", seconds)));
  if (answer.contains("error"))
    throw Error("the peer failed: " + answer["error"].get<std::string>(), "run without --peer");
  return answer.at("seconds").get<std::vector<double>>();
}

std::string Peer::exchange(const std::string& line) {
  const std::string message = line + "\n";
  for (size_t sent = 0; sent < message.size();) {
    const ssize_t n =
        send(process_.socket, message.data() + sent, message.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) throw_errno("the peer's Python has ended");
    if (n > 0) sent += static_cast<size_t>(n);
  }
  return read_line();
}

std::string Peer::read_line() {
  for (;;) {
    if (const size_t end = received_.find('\n'); end != std::string::npos) {
      const std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t n = recv(process_.socket, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Error("--peer: the Python process has ended", kHint);
    received_.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace fathom::app
