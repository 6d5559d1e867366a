#pragma once

#include <sys/types.h>
#include <string>
#include <vector>

namespace fathom::app {

/// PyTorch, in a Python process of its own that runs peer_torch.py: the same work on the same
/// shapes, on as many threads. Ends with this object.
class Peer {
 public:
  /// Starts it. Throws Error when there is no such interpreter, or it has no torch.
  Peer(const std::string& python, int threads);

  /// "PyTorch 2.4.0".
  const std::string& name() const { return name_; }
  /// Makes the data that `request` (JSON, see peer_torch.py) asks for and runs it once. Returns
  /// what went wrong, or nothing: an operation that this PyTorch lacks is no reason to stop.
  std::string prepare(const std::string& request);
  /// Durations of runs over about so many seconds, at least one.
  std::vector<double> time(double seconds);

 private:
  /// Closing the socket is what ends the process.
  struct Process {
    int socket = -1;
    pid_t id = -1;
    Process() = default;
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
  };

  void greet(const std::string& python);
  std::string exchange(const std::string& line);
  std::string read_line();

  Process process_;
  std::string received_, name_;
};

}  // namespace fathom::app
