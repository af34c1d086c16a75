// Two processes share work: the parent hands out jobs, urgent ones first, a child does them and answers.
//
//   work_queue        makes two queues in your domain, uses them, and removes them
#include <muster/message_queue.hpp>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace {

struct Job {
    std::uint64_t number;
    std::uint64_t input;
};
struct Answer {
    std::uint64_t number;
    std::uint64_t square;
};
constexpr std::uint64_t kJobs = 100;

// Every wait has an end: what does not happen in five seconds is an error here.
muster::Deadline soon() { return muster::Deadline::after(std::chrono::seconds(5)); }

int work(const std::string& jobs_name, const std::string& answers_name) {
    auto jobs = muster::MessageQueueOf<Job>::open(jobs_name);
    auto answers = muster::MessageQueueOf<Answer>::open(answers_name);
    if (!jobs || !answers) return 1;
    for (std::uint64_t done = 0; done < kJobs; ++done) {
        auto job = jobs->receive(soon());
        if (!job) return 1;
        if (!answers->send({job->number, job->input * job->input}, 0, soon())) return 1;
    }
    return 0;
}

// Runs one whole exchange; errors arrive as std::system_error because value() asks for that.
bool exchange(const std::string& jobs_name, const std::string& answers_name) {
    auto jobs = muster::MessageQueueOf<Job>::create(jobs_name, {.messages_max = kJobs}).value();
    auto answers = muster::MessageQueueOf<Answer>::create(answers_name, {.messages_max = 4}).value();

    for (std::uint64_t number = 0; number < kJobs; ++number) {
        const bool urgent = number % 10 == 9;
        jobs.send({number, number + 1}, urgent ? 1 : 0, soon()).value();
    }
    const pid_t worker = fork();
    if (worker == 0) _exit(work(jobs_name, answers_name));

    bool right = jobs.untyped().status().has_value();
    for (std::uint64_t i = 0; i < kJobs; ++i) {
        const Answer answer = answers.receive(soon()).value();
        if (i == 0) right = right && answer.number == 9;  // the first urgent job overtook the others
        right = right && answer.square == (answer.number + 1) * (answer.number + 1);
    }
    int status = 0;
    waitpid(worker, &status, 0);
    return right && status == 0;
}

}  // namespace

int main() {
    const std::string jobs = "/example-jobs-" + std::to_string(getpid());
    const std::string answers = "/example-answers-" + std::to_string(getpid());
    bool right = false;
    try {
        right = exchange(jobs, answers);
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "work_queue: %s\n", error.what());
    }
    (void)muster::MessageQueue::remove(jobs);
    (void)muster::MessageQueue::remove(answers);
    std::puts(right ? "work_queue: 100 jobs done, urgent ones first" : "work_queue: something went wrong");
    return right ? 0 : 1;
}
